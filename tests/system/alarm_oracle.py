"""What could be found at all: by one who knows exactly how columns wander, and asks only that.

A change of the mean that begins at an unknown moment is looked for with the best linear test
there is, by generalized least squares (Aitken, 1935), in the means of weeks or of days. The
monitor has to learn from eight weeks how far a column goes, sees more than means, and must say
what it sees of any change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.harness import Row
from services.monitor.core.alarms import EFFECTS_SHARE
from services.monitor.core.resources import DriftTest
from tests.support.drift_worlds import (
    HELD_OUT_WEEKS,
    TRAINING_WEEKS,
    WEEK_DAYS,
    Change,
    Nature,
)
from tests.system.alarm_tasks import FEW, NATURES
from tests.system.drift_runs import WARM_UP_WEEKS, WEEKS_AFTER

SHIFTS: Final = (0.2, 0.5, 0.75, 1.0)
WORLDS: Final = 400

_ROWS: Final = 300
_QUIET_WEEKS: Final = 2
_WEEKS: Final = _QUIET_WEEKS + WEEKS_AFTER
_SERVED_FROM: Final = (TRAINING_WEEKS + HELD_OUT_WEEKS) * WEEK_DAYS
_DAYS: Final = _SERVED_FROM + _WEEKS * WEEK_DAYS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Best:
    """What the best test found of one shift.

    Attributes:
        world: A key of `NATURES`.
        days: That it sees the mean of: 7 or 1.
        shift: In standard deviations of the rows of one day.
        found: Share of worlds with an alarm on a shifted column.
        weeks: Median from the change to the first alarm; None without one.
    """

    world: str
    days: int
    shift: float
    found: float
    weeks: float | None


def best_possible(worlds: int = WORLDS) -> list[Best]:
    """What is found at the monitor's budget, by kind of world, of means and of shift."""
    return [
        Best(world, days, shift, *_found(nature, days, shift, worlds))
        for world, nature in NATURES.items()
        for days in (WEEK_DAYS, 1)
        for shift in SHIFTS
    ]


def _found(nature: Nature, days: int, shift: float, worlds: int) -> tuple[float, float | None]:
    random = np.random.default_rng(5)
    quiet = strongest(nature, _drawn(random, nature, worlds, 0.0), days).max(axis=1)
    budget = DriftTest().false_alarm_budget * EFFECTS_SHARE
    threshold = np.quantile(quiet[:, WARM_UP_WEEKS:], 1 - budget)
    shifted = strongest(nature, _drawn(random, nature, worlds, shift), days)
    alarms = (shifted[:, : Change().shifted, _QUIET_WEEKS:] >= threshold).any(axis=1)
    found = alarms.any(axis=1)
    weeks = float(np.median(alarms.argmax(axis=1)[found] + 1)) if found.any() else None
    return float(found.mean()), weeks


def _drawn(random: np.random.Generator, nature: Nature, worlds: int, shift: float) -> Floats:
    """float64 [worlds, columns, days]: daily means, less the known season."""
    shape = worlds, FEW - 1
    level = random.normal(size=shape) * nature.step / np.sqrt(1 - nature.memory**2)
    means = np.empty((*shape, _DAYS))
    for day in range(_DAYS):
        level = nature.memory * level + random.normal(size=shape) * nature.step
        means[:, :, day] = level
    means += random.normal(size=means.shape) / np.sqrt(_ROWS)
    means[:, : Change().shifted, _SERVED_FROM + _QUIET_WEEKS * WEEK_DAYS :] += shift
    return means


def strongest(nature: Nature, means: Floats, days: int) -> Floats:
    """float64 [worlds, columns, weeks]: the strongest evidence of a shift, at each week's end.

    In standard deviations of what it would be without any; over every moment since deployment
    at which it may have begun.

    Args:
        nature: How the columns wander, exactly.
        means: float64 [worlds, columns, days].
        days: Whose mean is seen, 7 or 1.
    """
    return np.stack(
        [
            np.max([np.abs(means @ each) for each in _contrasts(nature, days, week)], axis=0)
            for week in range(1, _WEEKS + 1)
        ],
        axis=-1,
    )


def _contrasts(nature: Nature, days: int, weeks: int) -> Iterator[Floats]:
    """float64 [days]: what gives the evidence of a shift that began at each possible moment."""
    until = _SERVED_FROM + weeks * WEEK_DAYS
    starts = [*range(0, TRAINING_WEEKS * WEEK_DAYS, days), *range(_SERVED_FROM, until, days)]
    seen = np.zeros((len(starts), _DAYS))
    for place, start in enumerate(starts):
        seen[place, start : start + days] = 1 / days
    apart = np.abs(np.subtract.outer(np.arange(_DAYS), np.arange(_DAYS)))
    spread = nature.step**2 / (1 - nature.memory**2)
    covariance = spread * nature.memory**apart + np.eye(_DAYS) / _ROWS
    inverse = np.linalg.inv(seen @ covariance @ seen.T)
    for first in range(TRAINING_WEEKS * WEEK_DAYS // days, len(starts)):
        model = np.stack([np.ones(len(starts)), np.arange(len(starts)) >= first], axis=1)
        variances = np.linalg.inv(model.T @ inverse @ model)
        weights = (variances @ model.T @ inverse)[1] / np.sqrt(variances[1, 1])
        yield weights @ seen


def oracle_rows(found: Sequence[Best]) -> list[Row]:
    """All figures, for programs."""
    return [
        Row(
            f"best possible, means of {each.days} days; shift of {each.shift:g} sd; {each.world}",
            "share of worlds in which it is found",
            each.found,
            facts={} if each.weeks is None else {"median_weeks": each.weeks},
        )
        for each in found
    ]


def oracle_table(found: Sequence[Best]) -> Table:
    """A row per kind of world, of means, and shift."""
    table = Table("world", "means of", "shift", "found", "weeks to it", title="What could be found")
    for each in found:
        weeks = "-" if each.weeks is None else f"{each.weeks:g}"
        words = "a week" if each.days == WEEK_DAYS else "a day"
        table.add_row(each.world, words, f"{each.shift:g} sd", f"{each.found:.2f}", weeks)
    return table
