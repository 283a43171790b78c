"""Calibration: which probability a score is worth, learned from rows that no model learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.calibration_maps import (
    SOFTENINGS,
    STEEPEST,
    CalibrationMap,
    Floats,
    PiecewiseMap,
    SigmoidMap,
    SoftmaxMap,
    log_odds,
    logarithms,
)
from services.trainer.core.failures import DataFault, NotBetter
from services.trainer.core.scores import Labels, Probabilities
from services.trainer.core.tables import TWO_CLASSES

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
        rarer: Of the rarest label.
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


def check_rows(
    method: CalibrationMethod, label: Labels, classes: Sequence[str] = TWO_CLASSES
) -> None:
    """That a calibration can be learned from rows with these labels.

    Args:
        method: How.
        label: int64 [rows].
        classes: Names by their numbers.

    Raises:
        DataFault: They are too few.
    """
    if method is CalibrationMethod.NONE:
        return
    need = NEEDS[method]
    counts = np.bincount(label, minlength=len(classes))
    rarest = int(counts.argmin())
    if len(label) >= need.rows and counts[rarest] >= need.rarer:
        return
    instead = ", or ask for CALIBRATION_SIGMOID" * (method is CalibrationMethod.ISOTONIC)
    raise DataFault(
        f"calibration {method.value} needs {need.rows} rows that the model has not learned from, "
        f"{need.rarer} of each label; the validation part and the folds have {len(label)}, "
        f"{counts[rarest]} of label {classes[rarest]}: bring more rows, give the validation part "
        f"more{instead}"
    )


def soft_targets(label: Labels) -> Floats:
    """float64 [rows]: what is learned instead of 0 and 1, so that nothing is ever certain.

    The mean of each label under a uniform prior (Platt, 1999).
    """
    ones = int(np.sum(label))
    zeros = len(label) - ones
    targets: Floats = np.where(label == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    return targets


def soft_class_targets(label: Labels, classes: int) -> Floats:
    """float64 [rows, classes]: `soft_targets` of so many classes, the mean by Laplace's rule."""
    known = np.bincount(label, minlength=classes)[label] + classes
    targets: Floats = np.repeat((1 / known)[:, None], classes, axis=1)
    targets[np.arange(len(label)), label] = (known - classes + 1) / known
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


def softmax_map(
    probabilities: npt.NDArray[Any],
    regress: Callable[[Floats], tuple[float, tuple[float, ...]]],
) -> SoftmaxMap:
    """The map of a regression on the logarithms of `probabilities`.

    Args:
        probabilities: [rows, classes].
        regress: Gives slope and shifts of the regression on float64 [rows, classes].

    Raises:
        NotBetter: It would turn the order of the classes round.
    """

    def regressed(softening: float) -> SoftmaxMap:
        slope, shifts = regress(logarithms(probabilities, softening))
        if slope <= 0:
            raise _tells_nothing(len(probabilities), "its class")
        return SoftmaxMap(slope, shifts, softening)

    *gentle, last = SOFTENINGS
    for softening in gentle:
        found = regressed(softening)
        if found.steepest <= STEEPEST:
            return found
    return regressed(last)


def piecewise_map(blocks: Iterable[Block], label: str = "1") -> PiecewiseMap:
    """The map through the middles of the blocks of an isotonic regression.

    A step where two blocks meet would make one score of many, and another probability of a
    graph's rounding; a line does neither (Oron and Flournoy, 2017). Blocks with too few rows for
    a knot, or with too steep a line between them, are joined.

    Args:
        blocks: By ascending score and probability.
        label: That they are the probabilities of.

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
        raise _tells_nothing(rows, f"label {label}")
    return PiecewiseMap(
        tuple(block.knot for block in kept), tuple(block.probability for block in kept)
    )


def _regressed(
    scores: Probabilities, regress: Callable[[Floats], tuple[float, float]], softening: float
) -> SigmoidMap:
    slope, intercept = regress(log_odds(scores, softening))
    if slope <= 0:
        raise _tells_nothing(len(scores), "label 1")
    return SigmoidMap(slope, intercept, softening)


def _join_last(blocks: list[Block]) -> None:
    last = blocks.pop()
    blocks.append(blocks.pop().joined(last))


def _tells_nothing(rows: int, what: str) -> NotBetter:
    return NotBetter(
        f"the winner can't be calibrated: in the {rows} rows that it did not learn from, a higher "
        f"score does not go with more of {what}"
    )
