"""Calibration: which probability a score is worth, learned from rows that no model learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import DataFault, NotBetter
from services.trainer.core.scores import Labels, Probabilities

Floats = npt.NDArray[np.float64]

STEEPEST: Final = 16.0
"""Slope of a map: graphs, which count in float32, are off by up to 5e-7, and 1e-5 is allowed."""

SOFTENINGS: Final = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""What may keep log odds finite at 0 and 1, where forests are: the least with which no slope is
steeper than `STEEPEST`. With the largest, log odds are nearly scores."""

MOST_KNOTS: Final = 100
"""Of an isotonic map: each knot stands for at least so small a share of the rows."""


class CalibrationMethod(StrEnum):
    """How scores become probabilities. The values are names of the contract."""

    NONE = "CALIBRATION_NONE"
    SIGMOID = "CALIBRATION_SIGMOID"
    ISOTONIC = "CALIBRATION_ISOTONIC"


@dataclass(frozen=True, slots=True)
class Need:
    """The fewest rows to learn a calibration from.

    Attributes:
        rows: In all.
        rarer: Of the rarer label.
    """

    rows: int
    rarer: int


NEEDS: Final = {
    CalibrationMethod.SIGMOID: Need(100, 20),
    CalibrationMethod.ISOTONIC: Need(1000, 100),
}
"""Two numbers are learned from few rows; a free curve follows every accident of fewer than 1,000
(Niculescu-Mizil and Caruana, ICML 2005)."""


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
        ends = np.geomspace(1e-6, 0.5, 200)
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


CalibrationMap: TypeAlias = SigmoidMap | PiecewiseMap


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned.

    Attributes:
        method: How.
        rows: That it was learned from.
        map: Scores into probabilities.
    """

    method: CalibrationMethod
    rows: int
    map: CalibrationMap

    def to_json(self) -> dict[str, Any]:
        """As `training.json` has it."""
        return {"method": self.method.value, "rows": self.rows, "map": asdict(self.map)}


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring scores that are worth one probability.

    Attributes:
        rows: That have them.
        score: Their mean.
        probability: That they are worth.
    """

    rows: int
    score: float
    probability: float

    def joined(self, other: Block) -> Block:
        """Both as one, by their means."""
        rows = self.rows + other.rows
        return Block(
            rows,
            (self.rows * self.score + other.rows * other.score) / rows,
            (self.rows * self.probability + other.rows * other.probability) / rows,
        )

    @property
    def knot(self) -> float:
        """The score as float32 holds it."""
        return float(np.float32(self.score))

    def is_too_steep_to(self, other: Block) -> bool:
        """Whether a line from here to `other`, the next one, is steeper than `STEEPEST`."""
        return other.probability - self.probability > STEEPEST * (other.knot - self.knot)


def check_rows(method: CalibrationMethod, label: Labels) -> None:
    """That a calibration can be learned from rows with these labels of two classes.

    Raises:
        DataFault: They are too few.
    """
    if method is CalibrationMethod.NONE:
        return
    need = NEEDS[method]
    ones = int(np.sum(label))
    rarer = min(ones, len(label) - ones)
    if len(label) >= need.rows and rarer >= need.rarer:
        return
    instead = ", or ask for CALIBRATION_SIGMOID" * (method is CalibrationMethod.ISOTONIC)
    raise DataFault(
        f"calibration {method.value} needs {need.rows} rows that the model has not learned from, "
        f"{need.rarer} of the rarer label; the validation part and the folds have {len(label)}, "
        f"{rarer} of the rarer label: bring more rows, give the validation part more{instead}"
    )


def log_odds(scores: Probabilities, softening: float) -> Floats:
    """float64 [rows]: the logarithm of the odds, with `softening` added for and against."""
    exact = np.asarray(scores, dtype=np.float64)
    odds: Floats = np.log((exact + softening) / (1 - exact + softening))
    return odds


def soft_targets(label: Labels) -> Floats:
    """float64 [rows]: what is learned instead of 0 and 1, so that nothing is ever certain.

    The mean of each label under a uniform prior (Platt, 1999).
    """
    ones = int(np.sum(label))
    zeros = len(label) - ones
    targets: Floats = np.where(label == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    return targets


def sigmoid_map(
    scores: Probabilities, regress: Callable[[Floats], tuple[float, float]]
) -> SigmoidMap:
    """The map of a logistic regression on the log odds of `scores`.

    Args:
        scores: Of the rows.
        regress: Gives slope and intercept of the regression on float64 [rows].

    Raises:
        NotBetter: It would turn the order of the scores round.
    """
    *gentle, last = SOFTENINGS
    for softening in gentle:
        found = _regressed(scores, regress, softening)
        if found.steepest <= STEEPEST:
            return found
    return _regressed(scores, regress, last)


def piecewise_map(blocks: Iterable[Block]) -> PiecewiseMap:
    """The map through the middles of the blocks of an isotonic regression.

    A step where two blocks meet would make one score of many, and another probability of a
    graph's rounding; a line does neither (Oron and Flournoy, 2017). Blocks with too few rows for
    a knot, or with too steep a line between them, are joined.

    Args:
        blocks: By ascending score and probability.

    Raises:
        NotBetter: One block is left: higher scores are worth no more.
    """
    waiting = list(blocks)
    rows = sum(block.rows for block in waiting)
    kept: list[Block] = []
    for block in waiting:
        kept.append(block)
        while len(kept) > 1 and (
            kept[-2].rows * MOST_KNOTS < rows or kept[-2].is_too_steep_to(kept[-1])
        ):
            _join_last(kept)
    while len(kept) > 1 and (
        kept[-1].rows * MOST_KNOTS < rows or kept[-2].is_too_steep_to(kept[-1])
    ):
        _join_last(kept)
    if len(kept) < 2:
        raise _tells_nothing(rows)
    return PiecewiseMap(
        tuple(block.knot for block in kept), tuple(block.probability for block in kept)
    )


def _regressed(
    scores: Probabilities, regress: Callable[[Floats], tuple[float, float]], softening: float
) -> SigmoidMap:
    slope, intercept = regress(log_odds(scores, softening))
    if slope <= 0:
        raise _tells_nothing(len(scores))
    return SigmoidMap(slope, intercept, softening)


def _join_last(blocks: list[Block]) -> None:
    last = blocks.pop()
    blocks.append(blocks.pop().joined(last))


def _tells_nothing(rows: int) -> NotBetter:
    return NotBetter(
        f"the winner can't be calibrated: in the {rows} rows that it did not learn from, a higher "
        f"score does not go with more of label 1"
    )
