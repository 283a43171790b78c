"""Logistic regression with an L2 penalty."""

from __future__ import annotations

import warnings

from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    fitted_loss,
    watched_metrics,
    weighted_rows,
)
from services.trainer.core.abilities import CLASSIFICATION, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode


def fit(task: FitTask) -> Fitted:
    """Fit by L-BFGS; one step, reported when it is over."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=task.parameters["inverse_regularization"],
        max_iter=task.whole("max_iterations"),
        random_state=task.seed,
    )
    rows, label, weight = weighted_rows(task)
    with warnings.catch_warnings():
        # The limit on iterations is a parameter: reaching it is what was asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, label, sample_weight=weight)
    loss = fitted_loss(task, model)
    task.observer.stepped(Step(1, 1, loss, watched_metrics(task, model)))
    return Fitted(model, task.parameters)


RECIPE = Recipe(
    algorithm="logistic_regression",
    rules={
        "inverse_regularization": ParameterRule(default=1.0, minimum=1e-6, maximum=1e6),
        "max_iterations": ParameterRule(default=100, minimum=1, maximum=10_000, whole=True),
    },
    encoding=Encoding.SCALED_ONE_HOT,
    ability=Ability(CLASSIFICATION),
    fit=fit,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION}),
)
