"""How the predictions of each task are judged: scores, the trivial baseline, gains, losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core import multiclass, regression
from services.trainer.core.gains import Gain, class_gains, gains, quantity_gains
from services.trainer.core.scores import Scores, score
from services.trainer.core.tables import Labels
from services.trainer.core.tasks import Task

Floats = npt.NDArray[np.float64]
Predicted = npt.NDArray[Any]
"""Float [rows], the probability of label 1 or a quantity, or float [rows, classes]."""


class Objective(Protocol):
    """How the predictions of one task are judged."""

    def score(self, label: Labels, predicted: Predicted) -> Scores:
        """Everything that is measured of them; at least one row."""
        ...

    def selection_metrics(self, label: Labels, predicted: Predicted) -> dict[str, float]:
        """The metrics that trials are picked by; `label` has two values at least."""
        ...

    def losses(self, label: Labels, predicted: Predicted) -> Floats:
        """float64 [rows]: that whose mean a fit minimises, as its steps tell it."""
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

    def selection_metrics(self, label: Labels, predicted: Predicted) -> dict[str, float]:
        """See `Objective`."""
        return {
            "auc": scoring.auc(label, predicted),
            "log_loss": scoring.log_loss(label, predicted),
        }

    def losses(self, label: Labels, predicted: Predicted) -> Floats:
        """See `Objective`. Log loss in nats."""
        return scoring.log_losses(label, predicted)

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

    def selection_metrics(self, label: Labels, predicted: Predicted) -> dict[str, float]:
        """See `Objective`."""
        return multiclass.selection_metrics(label, predicted)

    def losses(self, label: Labels, predicted: Predicted) -> Floats:
        """See `Objective`. Log loss in nats."""
        return multiclass.log_losses(label, predicted)

    def baseline(self, fitted: Labels, rows: int) -> Predicted:
        """See `Objective`. The share of each class."""
        shares = np.bincount(fitted, minlength=len(self.classes)) / len(fitted)
        return np.tile(shares, (rows, 1))

    def gains(
        self, label: Labels, predicted: Predicted, fitted: Labels, seed: int
    ) -> dict[str, Gain]:
        """See `Objective`."""
        return class_gains(label, predicted, self.baseline(fitted, len(label)), seed)


class RegressionObjective:
    """Quantities: `label` and `predicted` are float [rows], in one unit."""

    def score(self, label: Labels, predicted: Predicted) -> Scores:
        """See `Objective`."""
        return regression.score_quantities(label, predicted)

    def selection_metrics(self, label: Labels, predicted: Predicted) -> dict[str, float]:
        """See `Objective`."""
        return regression.selection_metrics(label, predicted)

    def losses(self, label: Labels, predicted: Predicted) -> Floats:
        """See `Objective`. Squared errors."""
        return np.asarray((predicted - label) ** 2, dtype=np.float64)

    def baseline(self, fitted: Labels, rows: int) -> Predicted:
        """See `Objective`. The mean."""
        return np.full(rows, float(fitted.mean()), dtype=np.float64)

    def gains(
        self, label: Labels, predicted: Predicted, fitted: Labels, seed: int
    ) -> dict[str, Gain]:
        """See `Objective`."""
        return quantity_gains(label, predicted, self.baseline(fitted, len(label)), seed)


def objective_of(task: Task, classes: Sequence[str] = ()) -> Objective:
    """How `task` is judged; `classes` by name, where scores are to name them."""
    match task:
        case Task.BINARY:
            return BinaryObjective()
        case Task.MULTICLASS:
            return MulticlassObjective(classes)
        case Task.REGRESSION:
            return RegressionObjective()
