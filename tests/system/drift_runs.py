"""Runs the detectors over simulated worlds, quiet and changed, and scores what they say."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
from scipy import stats

from services.common.resources import Meta
from services.monitor.core.detecting import findings
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import ChangeKind, DriftReport, DriftTest, Severity
from tests.support.drift_worlds import (
    QUIET,
    Change,
    DriftWorld,
    Nature,
    sight_of_days,
    strengths,
)

WARM_UP_WEEKS: Final = 3
"""Weeks in which nothing that has to last can have lasted."""

WEEKS_AFTER: Final = 8

_NOW: Final = datetime(2013, 3, 4, tzinfo=UTC)
_RESAMPLES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """A change, how it comes, after how many quiet weeks, and what it is to be called."""

    words: str
    change: Change
    expected: ChangeKind
    pace: str = "sudden"
    effect_floor: float = 0.1
    quiet_weeks: int = 2

    @property
    def weeks(self) -> list[Change]:
        """What is different in each week after deployment."""
        changed = [self.change.scaled(each) for each in strengths(self.pace, WEEKS_AFTER)]
        return [QUIET] * self.quiet_weeks + changed


CASES: Final = (
    Case("shift of .2 sd, floor .1", Change(shift=0.2), ChangeKind.NONE),
    Case("shift of .2 sd, floor .05", Change(shift=0.2), ChangeKind.DATA_DRIFT, "sudden", 0.05),
    Case("shift of .5 sd", Change(shift=0.5), ChangeKind.DATA_DRIFT),
    Case("shift of .75 sd", Change(shift=0.75), ChangeKind.DATA_DRIFT),
    Case("shift of 1 sd", Change(shift=1.0), ChangeKind.DATA_DRIFT),
    Case("shift of 1 sd, over 4 weeks", Change(shift=1.0), ChangeKind.DATA_DRIFT, "gradual"),
    Case("shift of 1 sd, 3 weeks on, 3 off", Change(shift=1.0), ChangeKind.DATA_DRIFT, "recurring"),
    Case("one category, +15 %", Change(category=0.15), ChangeKind.DATA_DRIFT),
    Case("joint, equal marginals", Change(decoupled=True), ChangeKind.JOINT_DRIFT),
    Case("outcomes alone, odds x 2", Change(odds=2.0), ChangeKind.LABEL_SHIFT),
    Case("concept alone, logit + .6", Change(concept=0.6), ChangeKind.CONCEPT_DRIFT),
    Case(
        "shift of 1 sd since deployment",
        Change(shift=1.0),
        ChangeKind.SERVING_SKEW,
        quiet_weeks=0,
    ),
)


def judged_weeks(
    seed: int,
    changes: Sequence[Change],
    *,
    nature: Nature,
    columns: int = 50,
    test: DriftTest | None = None,
    sliced: bool = False,
) -> Iterator[DriftReport]:
    """The reports on a world's weeks, one change a week, oldest first."""
    world = DriftWorld(seed, nature=nature, columns=columns, sliced=sliced)
    profile = world.profile()
    sights = (
        sight_of_days(profile, world.days(7, change), seed * 1000 + week)
        for week, change in enumerate(changes)
    )
    yield from judged(sights, test or DriftTest())


def judged(sights: Iterable[Sight], test: DriftTest) -> Iterator[DriftReport]:
    """The reports on a version's windows, from the first on; oldest first."""
    # Of a thousand columns those of all weeks would be gigabytes.
    earlier: deque[DriftReport] = deque(maxlen=max(test.persistence_windows - 1, 1))
    for place, sight in enumerate(sights):
        found = findings(sight, earlier, test, from_first=len(earlier) == place)
        earlier.appendleft(
            DriftReport(
                meta=Meta(f"w{place}", "u", 1, _NOW, _NOW),
                baseline_version="",
                window_start=_NOW,
                window_end=_NOW,
                rows=sight.rows,
                points=found.points,
                change=found.change.kind,
                severity=found.change.severity,
                faults=found.faults,
                concept=found.concept,
                slices=found.slices,
                attributions=found.attributions,
            )
        )
        yield earlier[0]


@dataclass(frozen=True, slots=True)
class QuietWorld:
    """What the quiet weeks of one world showed; weeks with at least one of each.

    Attributes:
        first_alarms: Of the weeks of the warm-up, right after deployment; the others are of the
            weeks after it.
        chance: A q-value below .05 in one window alone.
        floor: An effect of .1 or more.
        by: What gave the alarms, those of the warm-up too.
    """

    weeks: int
    alarms: int
    first_alarms: int
    pages: int
    chance: int
    floor: int
    by: Mapping[str, int] = field(default_factory=dict)


def quiet_world(seed: int, nature: Nature, columns: int, weeks: int) -> QuietWorld:
    """One world in which nothing changes, after its warm-up."""
    alarms = first_alarms = pages = chance = floor = 0
    by: Counter[str] = Counter()
    changes = [QUIET] * (WARM_UP_WEEKS + weeks)
    for week, report in enumerate(judged_weeks(seed, changes, nature=nature, columns=columns)):
        by.update({point.algorithm for point in report.points if point.is_alarm})
        by.update({fault.kind.value for fault in report.faults})
        by.update(["concept"] if report.concept is not None and report.concept.alarms else [])
        is_alarm = report.change is not ChangeKind.NONE
        if week < WARM_UP_WEEKS:
            first_alarms += is_alarm
            continue
        alarms += is_alarm
        pages += report.severity is Severity.PAGE
        chance += any(point.q_value < 0.05 for point in report.points)
        floor += any(point.effect_size >= 0.1 for point in report.points)
    return QuietWorld(weeks, alarms, first_alarms, pages, chance, floor, dict(by))


def share_with_interval(hits: Sequence[int], weeks: Sequence[int]) -> tuple[float, float, float]:
    """Share of weeks, and its 95 % interval by drawing worlds again: their weeks are alike.

    Never narrower than that of independent weeks (Clopper and Pearson, Biometrika 1934): worlds
    without any alarm, drawn again, would prove that there never is one.
    """
    random = np.random.default_rng(7)
    counted, total = np.array(hits), np.array(weeks)
    drawn = random.integers(0, counted.size, (_RESAMPLES, counted.size))
    shares = counted[drawn].sum(axis=1) / total[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    exact = stats.binomtest(int(counted.sum()), int(total.sum())).proportion_ci()
    return (
        float(counted.sum() / total.sum()),
        float(min(low, exact.low)),
        float(max(high, exact.high)),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one change in one world was met.

    Attributes:
        delay_weeks: From the change to its first alarm, 1 at the least; None if there is none.
        name: What the first alarm called it.
        settled: What it is called most often from then on.
        severity: Of the first alarm.
        early: Whether there was an alarm in the quiet weeks before.
    """

    delay_weeks: int | None
    name: ChangeKind
    settled: ChangeKind
    severity: Severity
    early: bool


def met_change(seed: int, case: Case, nature: Nature, columns: int = 50) -> Outcome:
    """One world that changes after its quiet weeks."""
    reports = judged_weeks(
        seed,
        case.weeks,
        nature=nature,
        columns=columns,
        test=DriftTest(effect_floor=case.effect_floor),
    )
    alarms = [
        (week, report)
        for week, report in enumerate(reports, 1 - case.quiet_weeks)
        if report.change is not ChangeKind.NONE
    ]
    early = any(week < 1 for week, _ in alarms)
    alarms = [(week, report) for week, report in alarms if week >= 1]
    if not alarms:
        return Outcome(None, ChangeKind.NONE, ChangeKind.NONE, Severity.NONE, early)
    week, first = alarms[0]
    settled = Counter(report.change for _, report in alarms).most_common(1)[0][0]
    return Outcome(week, first.change, settled, first.severity, early)
