"""Simulated worlds whose scores follow other columns, or the same, and what is said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.monitor.core.resources import ChangeKind
from tests.support.drift_worlds import QUIET, Change, Nature
from tests.system.drift_runs import WARM_UP_WEEKS, judged_weeks

WEEKS: Final = 4
"""That are counted, after the warm-up, in which a change is there already."""

CHANGES: Final = {
    "nothing": QUIET,
    "shift of 1 sd": Change(shift=1.0),
    "other columns weigh": Change(rewired=True),
}

DECIDE: Final = {f"n{place:03}" for place in range(5)}
"""Columns that the scores weigh in training."""

TAKE_OVER: Final = {f"n{place:03}" for place in range(5, 15, 2)}
"""Those that they weigh instead."""

WITH_THEM: Final = {f"n{place:03}" for place in range(6, 15, 2)}
"""Those that go together with these, and so are followed too."""


@dataclass(frozen=True, slots=True)
class FollowedWorld:
    """What the weeks of one world showed.

    Attributes:
        alarms: Weeks with an alarm over a single column or whole rows.
        named: Weeks with an alarm of any kind, such as over outcomes, all known at once here.
        weeks_moved: Weeks in which the scores follow some column otherwise.
        weeks_lasting: Weeks in which that lasts of some column.
        found: Columns that lasted, over all weeks, by name.
    """

    alarms: int
    named: int
    weeks_moved: int
    weeks_lasting: int
    found: Counter[str]

    def lasting(self, columns: set[str]) -> int:
        """Of these columns, over all weeks."""
        return sum(times for name, times in self.found.items() if name in columns)


def followed_world(seed: int, change: Change, nature: Nature) -> FollowedWorld:
    """One world of 50 columns."""
    alarms = named = moved = lasting = 0
    found: Counter[str] = Counter()
    reports = judged_weeks(seed, [change] * (WARM_UP_WEEKS + WEEKS), nature=nature)
    for week, report in enumerate(reports):
        if week < WARM_UP_WEEKS or report.attributions is None:
            continue
        alarms += any(point.is_alarm for point in report.points)
        named += report.change is not ChangeKind.NONE
        moved += report.attributions.moved > 0
        lasting += report.attributions.lasting > 0
        found.update(point.feature for point in report.attributions.points if point.lasts)
    return FollowedWorld(alarms, named, moved, lasting, found)
