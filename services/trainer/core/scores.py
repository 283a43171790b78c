"""What a model scored on some rows, overall and per slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.tables import Strings

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Column = npt.NDArray[Any]  # one value, or one line of probabilities, for each row

SMALLEST_SLICE = 50
"""Slices of fewer rows are left out: their AUC says nothing."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics over one set of rows.

    Attributes:
        rows: Number of rows scored.
        positive_rate: Share of label 1; None unless there are two classes.
        values: Each where it is defined: rows of one class have no AUC. For two classes `auc`,
            `log_loss`, `brier`, `calibration_error` (expected, 15 bins of equal width).
            Of quantities `rmse`, `mae`, `median_absolute_error`, `r2`.
        reliability: Promise and outcome by bin, the same bins; of label 1, of more than two
            classes of the one that is told. Empty of quantities.
        standard_errors: Of `auc` (Hanley and McNeil) and of means, where defined.
        by_class: `precision`, `recall` and `f1` of each of more than two classes, where defined,
            as `recall.<class>`.
        confusion: Rows by class and by the most probable one, of more than two classes.
    """

    rows: int
    positive_rate: float | None
    values: Mapping[str, float]
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    reliability: tuple[scoring.ReliabilityBin, ...] = ()
    by_class: Mapping[str, float] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """The values, and the share of label 1 where it means something."""
        if self.positive_rate is None:
            return dict(self.values)
        return {**self.values, "positive_rate": self.positive_rate}


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Metrics over the rows whose `column` holds `value`; `value` '' is missing."""

    column: str
    value: str
    scores: Scores


def score(label: Labels, probability: Probabilities) -> Scores:
    """The metrics of `probability` (of label 1) against `label`; at least one row."""
    losses = scoring.log_losses(label, probability)
    values = {
        "log_loss": float(losses.mean()),
        "brier": scoring.brier(label, probability),
        "calibration_error": scoring.expected_calibration_error(label, probability),
    }
    errors = {"log_loss": scoring.mean_standard_error(losses)} if len(losses) > 1 else {}
    positives = int(np.sum(label))
    negatives = len(label) - positives
    if positives and negatives:
        values["auc"] = scoring.auc(label, probability)
        errors["auc"] = scoring.auc_standard_error(values["auc"], positives, negatives)
    bins = scoring.reliability(label, probability)
    return Scores(len(label), float(np.mean(label)), values, errors, bins)


def score_slices(
    label: Column,
    predicted: Column,
    columns: Mapping[str, Strings],
    scored: Callable[[Column, Column], Scores] = score,
) -> list[SliceScores]:
    """The metrics of each value of each column that has at least `SMALLEST_SLICE` rows.

    Args:
        label: [rows].
        predicted: [rows, ...].
        columns: That slice, object [rows] each.
        scored: Measures some rows.
    """
    slices = []
    for column, cells in columns.items():
        for value in sorted(set(cells.tolist())):
            rows = np.flatnonzero(cells == value)
            if len(rows) >= SMALLEST_SLICE:
                slices.append(SliceScores(column, value, scored(label[rows], predicted[rows])))
    return slices


def constant_scores(label: Labels, positive_rate: float) -> Scores:
    """What the trivial baseline scores: every row gets `positive_rate`, seen in training."""
    return score(label, np.full(len(label), positive_rate, dtype=np.float64))
