"""How much a model loses when rows come otherwise than it learned them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import NotRobust
from services.trainer.core.tables import Table

Column = npt.NDArray[Any]  # float32 or str, one value for each row
Answers = npt.NDArray[Any]  # float [rows], of label 1, or float [rows, classes]

USUAL_NOISE: Final = 0.1
UNIT: Final = 1000.0
"""What numbers in the next smaller unit are larger by: metres sent as millimetres."""

BEYOND_SPREADS: Final = 10.0
FARTHEST: Final = np.float32(1e30)
"""Beyond it float32 has no room left for a model to compute in."""

UNSEEN: Final = "\N{REPLACEMENT CHARACTER}never seen"
MOST_ROWS: Final = 5000
MOST_CELLS: Final = 20_000_000
"""Each feature is stressed by itself over all of them: rows times features squared."""

FEWEST_ROWS: Final = 200
WORST: Final = 10
"""Features that are named for each check."""


class Check(StrEnum):
    """What rows are made to look like. The values are part of names of metrics."""

    NOISE = "noise"
    MISSING = "missing"
    UNSEEN = "unseen"
    UNITS = "units"
    OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True, slots=True)
class Robustness:
    """What a spec asks for.

    Attributes:
        noise: Deviation of the noise in those of the feature.
        maximum_fall: Most by which the metric may get worse, by check.
        maximum_flipped: Largest share of rows whose decision may change, by check.
    """

    noise: float = USUAL_NOISE
    maximum_fall: Mapping[str, float] = field(default_factory=dict)
    maximum_flipped: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stressed:
    """A model, and how its answers are judged.

    Attributes:
        answer: What it gives the rows of a table.
        loss: What its answers score, lower being better.
        decide: int64 [rows]: what is decided by its answers.
    """

    answer: Callable[[Table], Answers]
    loss: Callable[[Answers], float]
    decide: Callable[[Answers], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Stress:
    """What one change of the rows does.

    Attributes:
        check: Kind of change.
        feature: That was changed; '' means all that can be.
        fall: By which the metric gets worse; below 0 where it gets better.
        flipped: Share of rows whose decision changes.
    """

    check: Check
    feature: str
    fall: float
    flipped: float


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """What all changes do.

    Attributes:
        rows: That were changed.
        noise: As in `Robustness`.
        stresses: Worst fall first.
        order_difference: Largest difference of what the model gives a row beside others: a copy
            of itself, half of the rows, in the opposite order.
    """

    rows: int
    noise: float
    stresses: tuple[Stress, ...]
    order_difference: float

    @property
    def falls(self) -> dict[Check, Stress]:
        """Of each check that was made, the change that makes the metric worst."""
        return self._worst(lambda each: each.fall)

    @property
    def flips(self) -> dict[Check, Stress]:
        """Of each check that was made, the change that turns most decisions."""
        return self._worst(lambda each: each.flipped)

    @property
    def metrics(self) -> dict[str, float]:
        """What an evaluation of the version says of it."""
        return {
            **{f"robustness.{check}.fall": each.fall for check, each in self.falls.items()},
            **{f"robustness.{check}.flipped": each.flipped for check, each in self.flips.items()},
            "robustness.order_difference": self.order_difference,
        }

    def named(self, check: Check) -> list[Stress]:
        """The changes of one check that make the metric worst, a few of them."""
        return [each for each in self.stresses if each.check is check][:WORST]

    def _worst(self, key: Callable[[Stress], float]) -> dict[Check, Stress]:
        found = {check: [each for each in self.stresses if each.check is check] for check in Check}
        return {check: max(each, key=key) for check, each in found.items() if each}


def stress(rows: Table, model: Stressed, noise: float, seed: int) -> RobustnessReport:
    """What changes of `rows` do to the answers of `model`. Deterministic.

    Raises:
        NotRobust: It gives rows no number.
    """
    plain = _answers(model, rows, "the rows as they are")
    loss, decided = model.loss(plain), model.decide(plain)
    stresses = []
    for check, feature, columns in _changes(rows, noise, np.random.default_rng(seed)):
        answers = _answers(model, rows.replaced(columns), f"{check} of {feature or 'all features'}")
        flipped = float(np.mean(model.decide(answers) != decided))
        stresses.append(Stress(check, feature, model.loss(answers) - loss, flipped))
    stresses.sort(key=lambda each: (-each.fall, -each.flipped, each.check, each.feature))
    difference = _order_difference(rows, model, plain)
    return RobustnessReport(len(rows), noise, tuple(stresses), difference)


def _order_difference(rows: Table, model: Stressed, plain: Answers) -> float:
    """Largest change where rows come twice, in the opposite order, half of them at a time."""
    twice = np.repeat(np.arange(len(rows))[::-1], 2)
    return max(
        float(np.abs(_answers(model, rows.take(half), "another order") - plain[half]).max())
        for half in np.array_split(twice, 2)
    )


def rows_to_stress(label: npt.NDArray[np.int64], features: int) -> npt.NDArray[np.int64]:
    """Positions of rows enough for the checks: some of each class, evenly over all of them.

    Args:
        label: int64 [rows].
        features: How many each row has.

    Returns:
        int64 [chosen], rising.
    """
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_CELLS // features**2))
    if len(label) <= most:
        return np.arange(len(label))
    share = most / len(label)
    chosen = []
    for value in np.unique(label):
        of_class = np.flatnonzero(label == value)
        places = np.linspace(0, len(of_class) - 1, max(1, round(share * len(of_class))))
        chosen.append(of_class[places.astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def check_robustness(who: str, report: RobustnessReport, asked: Robustness) -> None:
    """That a model loses no more than it may.

    Raises:
        NotRobust: A check turns more decisions or costs more of the metric.
    """
    faults = [
        *_beyond("makes the metric worse by", report.falls, "fall", asked.maximum_fall),
        *_beyond("turns a share of decisions of", report.flips, "flipped", asked.maximum_flipped),
    ]
    if faults:
        raise NotRobust(
            f"{who} is not as robust on the validation part as robustness asks: {'; '.join(faults)}"
        )


def _beyond(
    does: str, found: Mapping[Check, Stress], measure: str, maximum: Mapping[str, float]
) -> Iterator[str]:
    for check, most in maximum.items():
        worst = found.get(Check(check))
        if worst is not None and getattr(worst, measure) > most:
            yield (
                f"{check} of {worst.feature or 'all features'} {does} "
                f"{getattr(worst, measure):.4f} of at most {most:g}"
            )


def _answers(model: Stressed, rows: Table, what: str) -> Answers:
    answers = model.answer(rows)
    if not np.all(np.isfinite(answers)):
        raise NotRobust(f"the model gives no number where there is {what}")
    return answers


def _changes(
    rows: Table, noise: float, random: np.random.Generator
) -> Iterator[tuple[Check, str, Mapping[str, Column]]]:
    """Each check with its feature and the columns that take the place of others."""
    noisy: dict[str, Column] = {}
    for name, column in rows.numeric.items():
        spread, low, high = _range(column)
        noisy[name] = _within(column + noise * spread * random.standard_normal(len(column)))
        ends = np.where(np.arange(len(column)) % 2, low, high)
        outward = np.where(np.arange(len(column)) % 2, -1, 1) * BEYOND_SPREADS * (spread or 1.0)
        yield Check.NOISE, name, {name: noisy[name]}
        yield Check.MISSING, name, {name: np.full(len(column), np.nan, dtype=np.float32)}
        yield Check.UNITS, name, {name: _within(column.astype(np.float64) * UNIT)}
        yield Check.OUT_OF_RANGE, name, {name: _within(ends + outward)}
    unseen = {name: np.full(len(rows), UNSEEN, dtype=object) for name in rows.categorical}
    for name, column in unseen.items():
        yield Check.MISSING, name, {name: np.full(len(rows), "", dtype=object)}
        yield Check.UNSEEN, name, {name: column}
    for check, columns in ((Check.NOISE, noisy), (Check.UNSEEN, unseen)):
        if len(columns) > 1:
            yield check, "", columns


def _range(column: Column) -> tuple[float, float, float]:
    """Deviation, smallest and largest of the numbers there are; 0 where there is none."""
    known = column[np.isfinite(column)].astype(np.float64)
    if not known.size:
        return 0.0, 0.0, 0.0
    return float(known.std()), float(known.min()), float(known.max())


def _within(column: Column) -> npt.NDArray[np.float32]:
    """As float32 that a model can compute with; missing stays missing."""
    clipped: npt.NDArray[np.float32] = np.clip(column, -FARTHEST, FARTHEST).astype(np.float32)
    return clipped


def binary_decisions(threshold: float) -> Callable[[Answers], npt.NDArray[np.int64]]:
    """Decides 1 from a probability of `threshold` on."""
    return lambda answers: (answers.astype(np.float64) >= threshold).astype(np.int64)


def likeliest_class(answers: Answers) -> npt.NDArray[np.int64]:
    """Decides for the most probable class."""
    return np.asarray(answers.argmax(axis=1), dtype=np.int64)


def told(stresses: Sequence[Stress]) -> str:
    """The worst fall of each check in a line of a log."""
    return ", ".join(
        f"{each.check} of {each.feature or 'all'} {each.fall:+.4f}" for each in stresses
    )
