"""How good predictions are likely to be while no outcome is known."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from services.common.scoring import PROBABILITY_FLOOR
from services.monitor.core.calibration import Calibration, Floats
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import ChangeKind, DriftPoint, QualityEstimate

_OTHER_OUTCOMES: Final = frozenset(
    {ChangeKind.CONCEPT_DRIFT, ChangeKind.LABEL_SHIFT, ChangeKind.OUTCOME_CHANGE}
)
_POOR_CALIBRATION: Final = 0.05
_MUCH_OUTSIDE: Final = 0.05


def estimated_quality(
    sight: Sight, points: Collection[DriftPoint], change: ChangeKind
) -> QualityEstimate | None:
    """What the calibrated scores promise; None if nothing is known of their calibration.

    Confidence-based performance estimation: each row counts as an outcome 1 and an outcome 0,
    weighted by its calibrated score (Kuberski et al., NannyML, 2022). It holds as long as
    outcomes depend on what the model sees as they did, and says when that is in doubt.

    Args:
        sight: The window.
        points: What was found in it.
        change: What that means.
    """
    calibration = Calibration.of(sight.baseline)
    if calibration is None or not sight.rows:
        return None
    frequency, _ = calibration.expected(sight.scores)
    return QualityEstimate(
        metrics=_metrics(np.asarray(sight.scores, np.float64), frequency),
        doubts=tuple(_doubts(calibration, points, change)),
    )


def _metrics(scores: Floats, frequency: Floats) -> dict[str, float]:
    clipped = np.clip(scores, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    losses = -(frequency * np.log(clipped) + (1 - frequency) * np.log1p(-clipped))
    metrics = {"log_loss": float(losses.mean()), "positive_rate": float(frequency.mean())}
    _, place = np.unique(scores, return_inverse=True)
    ones = np.bincount(place, weights=frequency)
    zeros = np.bincount(place, weights=1 - frequency)
    if ones.sum() > 0 and zeros.sum() > 0:
        below = np.cumsum(zeros) - zeros / 2
        metrics["auc"] = float((ones * below).sum() / (ones.sum() * zeros.sum()))
    return metrics


def _doubts(
    calibration: Calibration, points: Collection[DriftPoint], change: ChangeKind
) -> list[str]:
    doubts = []
    if change in _OTHER_OUTCOMES:
        doubts.append("The outcomes known so far contradict what the scores have meant.")
    if change is ChangeKind.DATA_FAULT:
        doubts.append("Values that the model saw are broken.")
    if calibration.error > _POOR_CALIBRATION:
        doubts.append(
            f"The scores were {calibration.error:.3f} away from the frequencies on the "
            f"{calibration.rows:,} held-out rows."
        )
    drifted = sorted({point.algorithm for point in points if point.drifted})
    unseen = {"out_of_range", "new_category", "reconstruction", "domain_classifier"}
    if unseen.intersection(drifted):
        doubts.append("Rows come that are unlike any that the model was tried on.")
    return doubts
