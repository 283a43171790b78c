"""How good probabilities of a binary outcome are. numpy only; every function is pure.

Throughout: `labels` int [n] of 0 and 1, `scores` float [n], the probability of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[Any]  # any integer or boolean dtype
Scores: TypeAlias = npt.NDArray[Any]  # any float dtype

CALIBRATION_BINS = 15
PROBABILITY_FLOOR = 1e-7


class UndefinedScore(ValueError):
    """The measure does not exist for these rows: none, or a single class where two are needed."""


def auc(labels: Labels, scores: Scores) -> float:
    """Probability that a random 1 scores above a random 0, ties counting half.

    Mann and Whitney's U over n1 * n0, from midranks.

    Raises:
        UndefinedScore: One of the two classes is absent.
    """
    truth, score = _checked(labels, scores)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        raise UndefinedScore("AUC needs both classes")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    midranks = last_rank - (counts - 1) / 2
    rank_sum = float(midranks[inverse][truth].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def auc_standard_error(value: float, positives: int, negatives: int) -> float:
    """Standard error of an AUC of `value` (Hanley and McNeil, Radiology 143, 1982).

    Raises:
        UndefinedScore: One of the two classes is absent.
    """
    if positives < 1 or negatives < 1:
        raise UndefinedScore("AUC needs both classes")
    q1 = value / (2 - value)
    q2 = 2 * value**2 / (1 + value)
    variance = (
        value * (1 - value) + (positives - 1) * (q1 - value**2) + (negatives - 1) * (q2 - value**2)
    ) / (positives * negatives)
    return float(np.sqrt(max(variance, 0.0)))


def log_loss(labels: Labels, scores: Scores) -> float:
    """Mean negative log likelihood in nats, >= 0. Scores are kept 1e-7 away from 0 and 1.

    Raises:
        UndefinedScore: There is no row.
    """
    return float(log_losses(labels, scores).mean())


def log_losses(labels: Labels, scores: Scores) -> npt.NDArray[np.float64]:
    """float64 [n]: the negative log likelihood of each row, in nats.

    Raises:
        UndefinedScore: There is no row.
    """
    truth, score = _checked(labels, scores)
    clipped = np.clip(score, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    losses: npt.NDArray[np.float64] = -np.where(truth, np.log(clipped), np.log1p(-clipped))
    return losses


def mean_standard_error(values: npt.NDArray[np.float64]) -> float:
    """Standard error of the mean of float64 [n]: sample deviation over the root of n.

    Raises:
        UndefinedScore: There are fewer than two.
    """
    if values.size < 2:
        raise UndefinedScore("a standard error needs two rows")
    return float(values.std(ddof=1) / np.sqrt(values.size))


def brier(labels: Labels, scores: Scores) -> float:
    """Mean squared difference between score and outcome, 0 to 1 (Brier, 1950).

    Raises:
        UndefinedScore: There is no row.
    """
    truth, score = _checked(labels, scores)
    return float(np.mean((score - truth) ** 2))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The rows whose score is in one interval, and what came true of them.

    Attributes:
        lower: Lowest score of the interval, which holds it,
        upper: and highest, which only the last interval holds.
        rows: At least one.
        mean_score: What was promised.
        frequency: Share of 1.
    """

    lower: float
    upper: float
    rows: int
    mean_score: float
    frequency: float


def reliability(
    labels: Labels, scores: Scores, bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """The intervals of equal width that have rows: the points of a reliability diagram.

    Their mean distance, weighted by rows, is `expected_calibration_error`.

    Raises:
        UndefinedScore: There is no row.
    """
    truth, score = _checked(labels, scores)
    which = _bins_of(score, bins)
    rows = np.bincount(which, minlength=bins)
    promised = np.bincount(which, weights=score, minlength=bins)
    came_true = np.bincount(which, weights=truth, minlength=bins)
    return tuple(
        ReliabilityBin(
            lower=place / bins,
            upper=(place + 1) / bins,
            rows=int(rows[place]),
            mean_score=float(promised[place] / rows[place]),
            frequency=float(came_true[place] / rows[place]),
        )
        for place in np.flatnonzero(rows).tolist()
    )


def expected_calibration_error(
    labels: Labels, scores: Scores, bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance between score and frequency over bins of equal width, weighted by rows.

    0 to 1 (Naeini et al., AAAI 2015; 15 bins after Guo et al., ICML 2017).

    Raises:
        UndefinedScore: There is no row.
    """
    truth, score = _checked(labels, scores)
    which = _bins_of(score, bins)
    gaps = np.bincount(which, weights=score - truth, minlength=bins)
    return float(np.abs(gaps).sum() / truth.size)


def calibration_bias(labels: Labels, scores: Scores) -> float:
    """Mean score minus frequency of 1, -1 to 1: above 0 the model promises too much.

    Raises:
        UndefinedScore: There is no row.
    """
    truth, score = _checked(labels, scores)
    return float(np.mean(score) - np.mean(truth))


def _bins_of(score: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.int64]:
    return np.clip((score * bins).astype(np.int64), 0, bins - 1)


def _checked(
    labels: Labels, scores: Scores
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    truth = np.asarray(labels).astype(np.bool_)
    score = np.asarray(scores, dtype=np.float64)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {score.shape} must be one column each")
    if not truth.size:
        raise UndefinedScore("there is no row")
    return truth, score
