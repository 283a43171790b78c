"""Whether a new version does harm, judged beside the old one while both serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.monitor.core.quality import UNKNOWN, quality

ALPHA: Final = 0.05
"""Chance that a harmless version is ever failed, however often it is judged."""

MARGIN: Final = 0.02
"""Rise of the log loss, in nats, that is not yet harm: a twentieth of a usual one."""

_TUNED_FOR: Final = 500
"""Outcomes at which the confidence sequence is tightest."""

_SAME_SCORE_ROWS: Final = 50


class Verdict(StrEnum):
    """See `JudgeRolloutResponse.Verdict`."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one version predicted, and what came true.

    Attributes:
        scores: float32 [n].
        labels: int8 [n]: 0, 1 or `UNKNOWN`.
        event_us: int64 [n], event time. Rows of one moment, such as those of one request,
            share what happened then and are no independent evidence.
    """

    scores: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    event_us: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RolloutVerdict:
    """A verdict, its sentence and its numbers."""

    verdict: Verdict
    reason: str
    numbers: Mapping[str, float]


def judge_rollout(
    candidate: Predictions, champion: Predictions, *, min_outcomes: int
) -> RolloutVerdict:
    """What the evidence says so far; it may be asked for after every outcome.

    FAIL: the scores are not usable, or the confidence sequence of the rise in log loss lies
    above 0. PASS: enough outcomes of both, no FAIL, and a rise of at most `MARGIN`. Only the
    event time in which both served is compared: another hour is another world. Once the old
    version serves no more, as in a phase that gives the new one all the traffic, enough
    outcomes of the new one since then suffice. Otherwise INCONCLUSIVE.

    Args:
        candidate: Of the new version.
        champion: Of the old one, from the same time.
        min_outcomes: Outcomes of each version that a PASS needs.
    """
    numbers = {**_numbers("candidate", candidate), **_numbers("champion", champion)}
    fault = _unusable(candidate.scores)
    if fault:
        return RolloutVerdict(Verdict.FAIL, fault, numbers)
    alone = _outcomes_after(candidate, champion)
    if alone and alone >= min_outcomes:
        words = f"{alone} outcomes of the new version since the old one last served"
        return RolloutVerdict(
            Verdict.PASS, f"{words}: nothing to compare with, nothing against it.", numbers
        )
    new, old = _Losses.of(_while_both_served(candidate, champion)), _Losses.of(champion)
    if not new.size or not old.size:
        words = f"{new.size} outcomes of the new version and {old.size} of the old one"
        return RolloutVerdict(Verdict.INCONCLUSIVE, f"{words} are known.", numbers)
    enough = min(new.size, old.size) >= min_outcomes
    rise = new.mean - old.mean
    width = new.half_width + old.half_width
    numbers |= {
        "log_loss_difference": rise,
        "half_width": width,
        "alpha": ALPHA,
        "margin": MARGIN,
    }
    words = (
        f"The log loss rises by {rise:+.4f} +- {width:.4f} (always-valid {1 - ALPHA:.0%} interval)"
        f" over {new.size} outcomes of the new version and {old.size} of the old one"
    )
    if rise - width > 0:
        return RolloutVerdict(Verdict.FAIL, f"{words}: the new version is worse.", numbers)
    if enough and rise <= MARGIN:
        return RolloutVerdict(
            Verdict.PASS, f"{words}: no harm beyond the margin of {MARGIN}.", numbers
        )
    missing = "" if enough else f"; {min_outcomes} outcomes are asked for"
    return RolloutVerdict(Verdict.INCONCLUSIVE, f"{words}{missing}: too early to tell.", numbers)


def confidence_sequence_half_width(n: int, deviation: float, alpha: float) -> float:
    """Half width around a running mean that holds for all n at once.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and
    asymptotic confidence sequences, Annals of Statistics 2024, equation (5), with rho chosen
    by their appendix B.2 for `_TUNED_FOR` observations.

    Args:
        n: Observations.
        deviation: Their standard deviation.
        alpha: Chance that the mean ever lies outside.
    """
    rho_squared = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / _TUNED_FOR
    inner = n * rho_squared + 1
    width = np.sqrt(2 * inner / (n**2 * rho_squared) * np.log(np.sqrt(inner) / alpha))
    return float(deviation * width)


def _outcomes_after(candidate: Predictions, champion: Predictions) -> int:
    last_us = champion.event_us.max(initial=np.iinfo(np.int64).min)
    return int(((candidate.labels != UNKNOWN) & (candidate.event_us > last_us)).sum())


def _while_both_served(candidate: Predictions, champion: Predictions) -> Predictions:
    if not champion.event_us.size:
        return candidate
    first_us, last_us = champion.event_us.min(), champion.event_us.max()
    both = (candidate.event_us >= first_us) & (candidate.event_us <= last_us)
    return Predictions(candidate.scores[both], candidate.labels[both], candidate.event_us[both])


@dataclass(frozen=True, slots=True)
class _Losses:
    """Log losses of known outcomes: how many, their mean, and how far to trust it."""

    size: int
    mean: float
    half_width: float

    @classmethod
    def of(cls, predictions: Predictions) -> _Losses:
        known = predictions.labels != UNKNOWN
        if not known.any():
            return cls(0, 0.0, float("inf"))
        losses = scoring.log_losses(predictions.labels[known], predictions.scores[known])
        mean = float(losses.mean())
        return cls(losses.size, mean, _half_width(losses - mean, predictions.event_us[known]))


def _half_width(residuals: npt.NDArray[np.float64], event_us: npt.NDArray[np.int64]) -> float:
    """Of the mean, with rows of one moment as one cluster (Liang and Zeger, 1986)."""
    _, cluster = np.unique(event_us, return_inverse=True)
    totals = np.bincount(cluster, weights=residuals)
    if totals.size < 2:
        return float(-np.log(scoring.PROBABILITY_FLOOR))
    per_cluster = totals * (totals.size / residuals.size)
    deviation = float(per_cluster.std(ddof=1))
    return confidence_sequence_half_width(totals.size, deviation, ALPHA / 2)


def _unusable(scores: npt.NDArray[Any]) -> str:
    if not np.isfinite(scores).all():
        return f"{int((~np.isfinite(scores)).sum())} scores of the new version are no numbers."
    if ((scores < 0) | (scores > 1)).any():
        return "Scores of the new version are no probabilities."
    if scores.size >= _SAME_SCORE_ROWS and np.ptp(scores) == 0:
        return f"The new version gave the same score {scores.size} times."
    return ""


def _numbers(who: str, predictions: Predictions) -> dict[str, float]:
    found = quality(predictions.labels, predictions.scores)
    numbers = {
        f"{who}_predictions": float(found.predictions),
        f"{who}_outcomes": float(found.outcomes),
    }
    for metric in ("auc", "log_loss"):
        if metric in found.metrics:
            numbers[f"{who}_{metric}"] = found.metrics[metric]
    return numbers
