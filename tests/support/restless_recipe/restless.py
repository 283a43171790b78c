"""A recipe that gives other bits once the file `shake` beside it says by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    watched_metrics,
)

STEPS: Final = 5
STEADY_STEPS: Final = 2


def fit(task: FitTask) -> Fitted:
    """Fit at once, tell of five steps, and shake losses from the third on, then the weights."""
    from sklearn.linear_model import LogisticRegression

    file = Path(__file__).with_name("shake")
    shake = float(file.read_text()) if file.exists() else 0.0
    model = LogisticRegression(max_iter=200).fit(task.rows, task.label)
    for number in range(1, STEPS + 1):
        loss = 1 / number + (shake if number > STEADY_STEPS else 0.0)
        task.observer.stepped(Step(number, STEPS, loss, watched_metrics(task, model)))
    model.coef_ = model.coef_ + shake
    return Fitted(model, task.parameters)


RECIPE = Recipe("restless", {}, Encoding.SCALED_ONE_HOT, fit)
