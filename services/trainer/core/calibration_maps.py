"""What scores are worth: maps into probabilities, of two classes and of more. Every one is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.trainer.core.scores import Probabilities

Floats = npt.NDArray[np.float64]

STEEPEST: Final = 16.0
"""Slope of a map: graphs, which count in float32, are off by up to 5e-7, and 1e-5 is allowed."""

SOFTENINGS: Final = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""What may keep log odds finite at 0 and 1, where forests are: the least with which no slope is
steeper than `STEEPEST`. With the largest, log odds are nearly scores."""

_GRID: Final = 200


@dataclass(frozen=True, slots=True)
class SigmoidMap:
    """Log odds, stretched and shifted (Platt, 1999). Keeps the order of scores.

    Attributes:
        slope: Above 0; below 1 for scores that promise too much.
        intercept: In log odds.
        softening: See `log_odds`.
    """

    slope: float
    intercept: float
    softening: float = SOFTENINGS[0]

    def of(self, scores: Probabilities) -> Floats:
        """float64 [rows]: the calibrated probabilities of `scores`."""
        odds = self.slope * log_odds(scores, self.softening) + self.intercept
        calibrated: Floats = 1 / (1 + np.exp(-np.clip(odds, -80, 80)))
        return calibrated

    @property
    def steepest(self) -> float:
        """The largest change of the probability for a change of the score."""
        ends = np.geomspace(1e-6, 0.5, _GRID)
        scores = np.concatenate([[0.0], ends, 1 - ends, [1.0]])
        worth = self.of(scores)
        change = 1 / (scores + self.softening) + 1 / (1 - scores + self.softening)
        return float(np.max(self.slope * worth * (1 - worth) * change))


@dataclass(frozen=True, slots=True)
class PiecewiseMap:
    """Straight lines between knots, level beyond them. Never turns the order of scores round.

    Attributes:
        scores: Of the knots, ascending; float32 holds each.
        probabilities: Of the knots, ascending.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def of(self, scores: Probabilities) -> Floats:
        """float64 [rows]: the calibrated probabilities of `scores`."""
        calibrated: Floats = np.interp(scores, self.scores, self.probabilities)
        return calibrated


@dataclass(frozen=True, slots=True)
class SoftmaxMap:
    """Logarithms of the probabilities, stretched alike and each shifted by its own.

    Temperature scaling with a bias for each class (Alexandari, Kundaje and Shrikumar, ICML 2020);
    of two classes it would be `SigmoidMap`.

    Attributes:
        slope: Above 0; below 1 for probabilities that promise too much.
        shifts: In nats, one for each class; the first is 0.
        softening: Added to probabilities before their logarithm.
    """

    slope: float
    shifts: tuple[float, ...]
    softening: float = SOFTENINGS[0]

    def of(self, probabilities: npt.NDArray[Any]) -> Floats:
        """float64 [rows, classes]: what `probabilities`, [rows, classes], are worth."""
        logits = self.slope * logarithms(probabilities, self.softening) + np.array(self.shifts)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def steepest(self) -> float:
        """A bound of the change of what a class is worth for a change of its probability.

        The weight of the other classes together is between that of all which is left in the one
        that weighs least and, with a slope above 1, spread evenly; and at most all of it in each.
        """
        grid = np.geomspace(1e-6, 1.0, _GRID)
        scores = np.concatenate([[0.0], grid])
        factors = np.exp(self.shifts)
        worst = 0.0
        for place, factor in enumerate(factors):
            mine = factor * (scores + self.softening) ** self.slope
            others = np.delete(factors, place)
            low = mine / (mine + others.sum() * (1 - scores + self.softening) ** self.slope)
            high = mine / (mine + others.min() * self._least(1 - scores, len(others)))
            # A worth of a half changes fastest.
            worth = np.clip(0.5, low, high)
            change = self.slope * worth * (1 - worth) / (scores + self.softening)
            worst = max(worst, float(change.max()))
        return worst

    def _least(self, left: Floats, classes: int) -> Floats:
        """The least sum over so many classes with `left` between them."""
        soft, slope = self.softening, self.slope
        spread = classes * (left / classes + soft) ** slope
        alone = (left + soft) ** slope + (classes - 1) * soft**slope
        return np.asarray(np.minimum(spread, alone), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class OneVsRestMap:
    """Each class by a curve of its own, brought to a sum of 1 (Zadrozny and Elkan, KDD 2002).

    Attributes:
        curves: By class; none of them comes to 0.
    """

    curves: tuple[PiecewiseMap, ...]

    def of(self, probabilities: npt.NDArray[Any]) -> Floats:
        """float64 [rows, classes]: what `probabilities`, [rows, classes], are worth."""
        columns = [curve.of(probabilities[:, place]) for place, curve in enumerate(self.curves)]
        worth = np.column_stack(columns)
        return np.asarray(worth / worth.sum(axis=1, keepdims=True), dtype=np.float64)


CalibrationMap: TypeAlias = SigmoidMap | PiecewiseMap | SoftmaxMap | OneVsRestMap
"""The first two are of two classes, and take the probability of label 1; the others of more."""


def log_odds(scores: Probabilities, softening: float) -> Floats:
    """float64 [rows]: the logarithm of the odds, with `softening` added for and against."""
    exact = np.asarray(scores, dtype=np.float64)
    odds: Floats = np.log((exact + softening) / (1 - exact + softening))
    return odds


def logarithms(probabilities: npt.NDArray[Any], softening: float) -> Floats:
    """float64 [rows, classes]: the logarithms of probabilities with `softening` added."""
    return np.asarray(np.log(np.asarray(probabilities, dtype=np.float64) + softening))
