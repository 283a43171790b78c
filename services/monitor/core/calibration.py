"""What a score has meant: how often outcomes came true at each score, before it served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from services.common.profiles import Profile
from services.common.sketches import Counts, Sketch, coarse_counts

Floats = npt.NDArray[np.float64]

_STEPS: Final = 25
_RIDGE: Final = 1e-3
_FEWEST_DAYS: Final = 3
_CLIP: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Calibration:
    """The frequency of outcome 1 as a logistic function of the score's logit.

    Platt, Probabilistic outputs for support vector machines, 1999, on the held-out rows.

    Attributes:
        weights: float64 [2], intercept and slope; (0, 1) if the score is the frequency.
        covariance: float64 [2, 2], of `weights`.
        overdispersion: How many times the variance between days exceeds that of independent
            outcomes, one standard error added; at least 1.
        error: Mean distance of score and frequency on the held-out rows.
        rows: Held-out rows.
    """

    weights: Floats
    covariance: Floats
    overdispersion: float
    error: float
    rows: int

    @classmethod
    def of(cls, profile: Profile) -> Self | None:
        """Of a baseline; None if it does not say, or has one class or too few days."""
        counts = profile.reliability
        if counts is None or counts.shape[0] < _FEWEST_DAYS:
            return None
        totals = counts.sum(axis=0)
        if not totals.sum(axis=0).all():
            return None
        means = group_means(profile.score.sketch)
        inputs = _inputs(means)
        weights, covariance = _fitted(inputs, totals)
        expected = _logistic(inputs @ weights)
        rows = totals.sum(axis=1)
        by_day = counts.sum(axis=2)
        residuals = (counts[:, :, 1] - by_day * expected).sum(axis=1)
        variances = (by_day * expected * (1 - expected)).sum(axis=1)
        ratio = float(np.mean(residuals**2 / np.maximum(variances, 1e-9)))
        days = counts.shape[0]
        return cls(
            weights,
            covariance,
            max(1.0, ratio * (1 + np.sqrt(2 / days))),
            float(np.abs(totals[:, 1] - rows * means).sum() / rows.sum()),
            int(rows.sum()),
        )

    def expected(self, scores: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """float64 [n] twice: the frequency of 1 at each score, and its standard error.

        Args:
            scores: float [n].
        """
        inputs = _inputs(np.asarray(scores, np.float64))
        frequency = _logistic(inputs @ self.weights)
        variance = np.einsum("ij,jk,ik->i", inputs, self.covariance, inputs)
        return frequency, frequency * (1 - frequency) * np.sqrt(variance)


def group_means(score: Sketch) -> Floats:
    """float64 [groups]: about the mean score of each coarse group."""
    edges = np.asarray(score.bins.edges)
    middles = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:], [0.5]])
    coarse = score.coarse_groups()
    weights = score.counts + 1e-6
    summed = np.bincount(coarse, weights=weights * middles)
    means: Floats = summed / np.bincount(coarse, weights=weights)
    return means


def outcome_table(score: Sketch, scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Counts:
    """int64 [groups, 2]: outcomes by the score's coarse group.

    Args:
        score: Lays down the groups.
        scores: float [n].
        labels: int [n], 0 or 1.
    """
    parts = [
        coarse_counts(score.coarse_groups(), score.bins.counts(scores[labels == value]))
        for value in (0, 1)
    ]
    return np.stack(parts, axis=1)


def _inputs(scores: Floats) -> Floats:
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    return np.stack([np.ones_like(clipped), np.log(clipped / (1 - clipped))], axis=1)


def _logistic(values: Floats) -> Floats:
    frequency: Floats = 1 / (1 + np.exp(-values))
    return frequency


def _fitted(inputs: Floats, counts: Counts) -> tuple[Floats, Floats]:
    """Weights and covariance by Newton's method, held near (0, 1) where rows say little."""
    weights = np.array([0.0, 1.0])
    start, rows = weights.copy(), counts.sum(axis=1)
    inverse = np.eye(2)
    for _ in range(_STEPS):
        expected = _logistic(inputs @ weights)
        gradient = inputs.T @ (counts[:, 1] - rows * expected) - _RIDGE * (weights - start)
        curvature = (inputs * (rows * expected * (1 - expected))[:, None]).T @ inputs
        inverse = np.linalg.inv(curvature + _RIDGE * np.eye(2))
        weights = weights + np.clip(inverse @ gradient, -1.0, 1.0)
    return weights, inverse
