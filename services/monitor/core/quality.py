"""How well predictions turned out, by the outcomes that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.common import scoring

Z_95: Final = 1.959964
"""Normal quantile of a two-sided interval that covers 95 %."""

UNKNOWN: Final = -1
"""The label of a prediction whose outcome is not known yet."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What some predictions scored.

    Attributes:
        predictions: How many.
        outcomes: How many of them have an outcome.
        metrics: `auc` (with both classes present), `log_loss`, `calibration_error` as
            the trainer measures it, `calibration_bias`, `positive_rate`; empty without outcomes.
        half_widths: Half widths of the 95 % intervals of `auc` and `log_loss`, where defined.
    """

    predictions: int
    outcomes: int
    metrics: Mapping[str, float]
    half_widths: Mapping[str, float]


def quality(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Quality:
    """What these predictions scored.

    Args:
        labels: int [n]: 0, 1 or `UNKNOWN`.
        scores: float [n], probability of 1.
    """
    known = labels != UNKNOWN
    truth, score = labels[known], scores[known].astype(np.float64)
    if not truth.size:
        return Quality(labels.size, 0, {}, {})
    losses = scoring.log_losses(truth, score)
    metrics = {
        "log_loss": float(losses.mean()),
        "calibration_error": scoring.expected_calibration_error(truth, score),
        "calibration_bias": scoring.calibration_bias(truth, score),
        "positive_rate": float(truth.mean()),
    }
    half_widths = {}
    if truth.size > 1:
        half_widths["log_loss"] = Z_95 * float(losses.std(ddof=1)) / float(np.sqrt(truth.size))
    positives = int(truth.sum())
    if 0 < positives < truth.size:
        metrics["auc"] = scoring.auc(truth, score)
        half_widths["auc"] = Z_95 * scoring.auc_standard_error(
            metrics["auc"], positives, truth.size - positives
        )
    return Quality(labels.size, int(truth.size), metrics, half_widths)
