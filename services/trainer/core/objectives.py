"""What the predictions of each task are held against: scores, the trivial baseline, gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core import multiclass
from services.trainer.core.gains import Gain, class_gains, gains
from services.trainer.core.scores import Labels, Scores, score
from services.trainer.core.tasks import Task

Predicted = npt.NDArray[Any]
"""Float [rows], the probability of label 1, or float [rows, classes] for more than two."""


class Objective(Protocol):
    """How the predictions of one task are judged."""

    def score(self, label: Labels, predicted: Predicted) -> Scores:
        """Everything that is measured of them; at least one row."""
        ...

    def baseline(self, fitted: Labels, rows: int) -> Predicted:
        """What knowing the labels `fitted` alone predicts for each of so many rows."""
        ...

    def gains(
        self, label: Labels, predicted: Predicted, fitted: Labels, seed: int
    ) -> dict[str, Gain]:
        """What they have over that baseline, by metric, with 95 % intervals."""
        ...


class BinaryObjective:
    """Two classes: `predicted` is [rows], the probability of label 1."""

    def score(self, label: Labels, predicted: Predicted) -> Scores:
        """See `Objective`."""
        return score(label, predicted)

    def baseline(self, fitted: Labels, rows: int) -> Predicted:
        """See `Objective`. The share of positives."""
        return np.full(rows, float(fitted.mean()), dtype=np.float64)

    def gains(
        self, label: Labels, predicted: Predicted, fitted: Labels, seed: int
    ) -> dict[str, Gain]:
        """See `Objective`."""
        return gains(label, predicted, float(fitted.mean()), seed)


@dataclass(frozen=True, slots=True)
class MulticlassObjective:
    """More than two classes, by name: `predicted` is [rows, classes]."""

    classes: Sequence[str]

    def score(self, label: Labels, predicted: Predicted) -> Scores:
        """See `Objective`."""
        return multiclass.score_classes(label, predicted, self.classes)

    def baseline(self, fitted: Labels, rows: int) -> Predicted:
        """See `Objective`. The share of each class."""
        shares = np.bincount(fitted, minlength=len(self.classes)) / len(fitted)
        return np.tile(shares, (rows, 1))

    def gains(
        self, label: Labels, predicted: Predicted, fitted: Labels, seed: int
    ) -> dict[str, Gain]:
        """See `Objective`."""
        return class_gains(label, predicted, self.baseline(fitted, len(label)), seed)


def objective_of(task: Task, classes: Sequence[str]) -> Objective:
    """How `task` is judged; `classes` by name."""
    match task:
        case Task.BINARY:
            return BinaryObjective()
        case Task.MULTICLASS:
            return MulticlassObjective(classes)


def selection_metrics(task: Task, label: Labels, predicted: Predicted) -> dict[str, float]:
    """The metrics that trials of `task` are picked by; of two classes, both must occur."""
    match task:
        case Task.BINARY:
            return {
                "auc": scoring.auc(label, predicted),
                "log_loss": scoring.log_loss(label, predicted),
            }
        case Task.MULTICLASS:
            return multiclass.selection_metrics(label, predicted)


def mean_loss(task: Task, label: Labels, predicted: Predicted) -> float:
    """What a fit minimises, as its steps tell it: mean log loss in nats."""
    match task:
        case Task.BINARY:
            return scoring.log_loss(label, predicted)
        case Task.MULTICLASS:
            return float(multiclass.log_losses(label, predicted).mean())
