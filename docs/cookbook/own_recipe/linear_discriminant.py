"""Linear discriminant analysis, as a recipe that any trainer takes once it is installed."""

from __future__ import annotations

from services.common import scoring
from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    watched_metrics,
)
from services.trainer.core.parameters import ParameterRule


def fit(task: FitTask) -> Fitted:
    """Fit in one step, reported when it is over."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression

    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=task.parameters["shrinkage"])
    found.fit(task.rows, task.label)
    # skl2onnx gives a discriminant of two classes other probabilities than scikit-learn does,
    # which the export's gate refuses. As a logistic regression it is the same function.
    model = LogisticRegression()
    model.classes_, model.n_features_in_ = found.classes_, found.n_features_in_
    model.coef_, model.intercept_ = found.coef_, found.intercept_
    loss = scoring.log_loss(task.label, model.predict_proba(task.rows)[:, 1])
    task.observer.stepped(Step(1, 1, loss, watched_metrics(task, model)))
    return Fitted(model, task.parameters)


RECIPE = Recipe(
    algorithm="linear_discriminant",
    rules={"shrinkage": ParameterRule(default=0.1, minimum=0.0, maximum=1.0)},
    encoding=Encoding.SCALED_ONE_HOT,
    fit=fit,
)
