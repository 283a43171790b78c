"""How much a model loses when rows come otherwise than it learned them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import NotRobust
from services.trainer.core.row_changes import Check, changes
from services.trainer.core.tables import Rows, Table

Answers = npt.NDArray[Any]  # float [rows], of label 1 or a quantity, or float [rows, classes]
Decided = npt.NDArray[np.int64]

USUAL_NOISE: Final = 0.1
MOST_ROWS: Final = 5000
MOST_TEXTS: Final = 1000
"""An encoder reads some hundred of them a second."""

MOST_CELLS: Final = 20_000_000
"""Each feature is stressed by itself over all of them: rows times features squared."""

FEWEST_ROWS: Final = 200
WORST: Final = 10
"""Features that are named for each check."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """What a spec asks for.

    Attributes:
        noise: Deviation of the noise in those of the feature; see `changes` for texts.
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
        decide: int64 [rows]: what is decided by its answers; None of quantities.
    """

    answer: Callable[[Table], Answers]
    loss: Callable[[Answers], float]
    decide: Callable[[Answers], Decided] | None


@dataclass(frozen=True, slots=True)
class Stress:
    """What one change of the rows does.

    Attributes:
        check: Kind of change.
        feature: That was changed; '' means all that can be.
        fall: By which the metric gets worse; below 0 where it gets better.
        flipped: Share of rows whose decision changes; None where nothing is decided.
    """

    check: Check
    feature: str
    fall: float
    flipped: float | None = None

    @property
    def values(self) -> dict[str, float]:
        """What is known of it, by name."""
        decided = {} if self.flipped is None else {"flipped": self.flipped}
        return {"fall": self.fall, **decided}


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """What all changes do.

    Attributes:
        rows: That were changed.
        noise: As in `Robustness`.
        stresses: Worst fall first.
        order_difference: Largest difference of what the model gives a row beside others: a copy
            of itself, half of the rows, in the opposite order; of a quantity in its unit.
    """

    rows: int
    noise: float
    stresses: tuple[Stress, ...]
    order_difference: float

    @property
    def falls(self) -> dict[Check, Stress]:
        """Of each check that was made, the change that makes the metric worst."""
        return self._worst("fall")

    @property
    def flips(self) -> dict[Check, Stress]:
        """Of each check that was made, the change that turns most decisions, if any are made."""
        return self._worst("flipped")

    @property
    def metrics(self) -> dict[str, float]:
        """What an evaluation of the version says of it."""
        return {
            **{
                f"robustness.{check}.{measure}": worst.values[measure]
                for measure in ("fall", "flipped")
                for check, worst in self._worst(measure).items()
            },
            "robustness.order_difference": self.order_difference,
        }

    def named(self, check: Check) -> list[Stress]:
        """The changes of one check that make the metric worst, a few of them."""
        return [each for each in self.stresses if each.check is check][:WORST]

    def _worst(self, measure: str) -> dict[Check, Stress]:
        known = [each for each in self.stresses if measure in each.values]
        found = {check: [each for each in known if each.check is check] for check in Check}
        return {
            check: max(made, key=lambda each: each.values[measure])
            for check, made in found.items()
            if made
        }


def stress(rows: Table, model: Stressed, noise: float, seed: int) -> RobustnessReport:
    """What changes of `rows` do to the answers of `model`. Deterministic.

    Raises:
        NotRobust: It gives rows no number.
    """
    plain = _answers(model, rows, "the rows as they are")
    loss = model.loss(plain)
    stresses = []
    for check, feature, columns in changes(rows, noise, np.random.default_rng(seed)):
        answers = _answers(model, rows.replaced(columns), f"{check} of {feature or 'all features'}")
        flipped = _flipped(model, plain, answers)
        stresses.append(Stress(check, feature, model.loss(answers) - loss, flipped))
    stresses.sort(key=lambda each: (-each.fall, -(each.flipped or 0.0), each.check, each.feature))
    difference = _order_difference(rows, model, plain)
    return RobustnessReport(len(rows), noise, tuple(stresses), difference)


def _order_difference(rows: Table, model: Stressed, plain: Answers) -> float:
    """Largest change where rows come twice, in the opposite order, half of them at a time."""
    twice = np.repeat(np.arange(len(rows))[::-1], 2)
    return max(
        float(np.abs(_answers(model, rows.take(half), "another order") - plain[half]).max())
        for half in np.array_split(twice, 2)
    )


def rows_to_stress(table: Table) -> Rows:
    """Positions of rows enough for the checks, evenly over all of them: some of each class.

    Returns:
        int64 [chosen], rising.
    """
    cells = MOST_CELLS // len(table.features) ** 2
    most = MOST_TEXTS if table.text else min(MOST_ROWS, max(FEWEST_ROWS, cells))
    rows = np.arange(len(table))
    if len(rows) <= most:
        return rows
    if not table.classes:
        return _evenly(rows, most)
    share = most / len(rows)
    chosen = []
    for value in np.unique(table.label):
        of_class = np.flatnonzero(table.label == value)
        chosen.append(_evenly(of_class, max(1, round(share * len(of_class)))))
    return np.sort(np.concatenate(chosen))


def _evenly(rows: Rows, most: int) -> Rows:
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


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
        if worst is not None and worst.values[measure] > most:
            yield (
                f"{check} of {worst.feature or 'all features'} {does} "
                f"{worst.values[measure]:.4f} of at most {most:g}"
            )


def _flipped(model: Stressed, plain: Answers, answers: Answers) -> float | None:
    """Share of decisions that differ; None where none are made."""
    if model.decide is None:
        return None
    return float(np.mean(model.decide(answers) != model.decide(plain)))


def _answers(model: Stressed, rows: Table, what: str) -> Answers:
    answers = model.answer(rows)
    if not np.all(np.isfinite(answers)):
        raise NotRobust(f"the model gives no number where there is {what}")
    return answers


def binary_decisions(threshold: float) -> Callable[[Answers], Decided]:
    """Decides 1 from a probability of `threshold` on."""
    return lambda answers: (answers.astype(np.float64) >= threshold).astype(np.int64)


def likeliest_class(answers: Answers) -> Decided:
    """Decides for the most probable class."""
    return np.asarray(answers.argmax(axis=1), dtype=np.int64)


def told(stresses: Sequence[Stress]) -> str:
    """The worst fall of each check in a line of a log."""
    return ", ".join(
        f"{each.check} of {each.feature or 'all'} {each.fall:+.4f}" for each in stresses
    )
