"""Linear regression with an L2 penalty: ridge regression."""

from __future__ import annotations

import numpy as np

from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    fitted_loss,
    watched_metrics,
)
from services.trainer.core.abilities import REGRESSION, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode


def fit(task: FitTask) -> Fitted:
    """Solve it in one step, reported when it is over."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=task.parameters["l2"], solver="cholesky")
    # Of float32 rows it would solve in float32, and lose half the digits.
    model.fit(task.rows.astype(np.float64), task.label)
    loss = fitted_loss(task, model)
    task.observer.stepped(Step(1, 1, loss, watched_metrics(task, model)))
    return Fitted(model, task.parameters)


RECIPE = Recipe(
    algorithm="linear_regression",
    rules={"l2": ParameterRule(default=1.0, minimum=1e-6, maximum=1e9)},
    encoding=Encoding.SCALED_ONE_HOT,
    ability=Ability(REGRESSION),
    fit=fit,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION}),
)
