"""What the models of a job predict, and what that means wherever it makes a difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_CLASSES: Final = 50
"""Each class brings three metrics of its own, and an evaluation holds 256."""


class Metric(StrEnum):
    """What the validation part is scored by. The values name keys of `Scores.values`."""

    AUC = "auc"
    LOG_LOSS = "log_loss"
    MACRO_F1 = "macro_f1"
    BALANCED_ACCURACY = "balanced_accuracy"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"
    MEDIAN_ABSOLUTE_ERROR = "median_absolute_error"

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self not in _LOWER_IS_BETTER


_LOWER_IS_BETTER: Final = frozenset(
    {Metric.LOG_LOSS, Metric.RMSE, Metric.MAE, Metric.MEDIAN_ABSOLUTE_ERROR}
)


class Task(StrEnum):
    """What a target is. The values are names of the contract."""

    BINARY = "TASK_BINARY_CLASSIFICATION"
    MULTICLASS = "TASK_MULTICLASS_CLASSIFICATION"
    REGRESSION = "TASK_REGRESSION"

    @property
    def meaning(self) -> Meaning:
        """What it asks of a spec, and what is told of it; `objective_of` judges predictions."""
        return _MEANINGS[self]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What sets one task apart from the others.

    Attributes:
        target_types: Beginnings of the Arrow types that a target may have.
        metrics: What may pick the winner; the first where nothing is asked for.
        watched: The one that says when a fit stops; lower is better.
        gains: What is told of a trial over the trivial baseline: fields of `MinimumGain`.
        losses: What a version may lose against its parent: fields of `MaximumLoss`.
        card: What a card shows of scores.
        has_classes: Whether labels are numbers of classes; else they are quantities.
    """

    target_types: tuple[str, ...]
    metrics: tuple[Metric, ...]
    watched: Metric
    gains: tuple[Metric, ...]
    losses: tuple[Metric, ...]
    card: tuple[str, ...]
    has_classes: bool = True


_WHOLE: Final = ("int", "uint")
STRINGS: Final = ("string", "large_string", "utf8", "large_utf8", "dictionary")
QUANTITIES: Final = (*_WHOLE, "float", "double", "halffloat", "half_float", "decimal")
"""Beginnings of the Arrow types of words and of numbers."""

_MEANINGS: Final[Mapping[Task, Meaning]] = {
    Task.BINARY: Meaning(
        target_types=(*_WHOLE, "bool"),
        metrics=(Metric.AUC, Metric.LOG_LOSS),
        watched=Metric.LOG_LOSS,
        gains=(Metric.AUC, Metric.LOG_LOSS),
        losses=(Metric.AUC, Metric.LOG_LOSS),
        card=("positive_rate", "auc", "log_loss", "calibration_error"),
    ),
    Task.MULTICLASS: Meaning(
        target_types=(*_WHOLE, *STRINGS),
        metrics=(Metric.LOG_LOSS, Metric.MACRO_F1, Metric.BALANCED_ACCURACY),
        watched=Metric.LOG_LOSS,
        gains=(Metric.BALANCED_ACCURACY, Metric.LOG_LOSS),
        losses=(Metric.BALANCED_ACCURACY, Metric.LOG_LOSS),
        card=(
            "log_loss",
            "macro_f1",
            "balanced_accuracy",
            "accuracy",
            "worst_recall",
            "calibration_error",
        ),
    ),
    Task.REGRESSION: Meaning(
        target_types=QUANTITIES,
        metrics=(Metric.RMSE, Metric.MAE, Metric.R2, Metric.MEDIAN_ABSOLUTE_ERROR),
        watched=Metric.RMSE,
        gains=(Metric.RMSE, Metric.R2),
        losses=(Metric.RMSE, Metric.MAE),
        card=("rmse", "mae", "median_absolute_error", "r2"),
        has_classes=False,
    ),
}
