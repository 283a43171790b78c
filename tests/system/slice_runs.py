"""Simulated worlds in which one slice changes, or nothing, and what is said of their slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.support.drift_worlds import QUIET, Change, Nature
from tests.system.drift_runs import WARM_UP_WEEKS, judged_weeks

WEEKS: Final = 4
"""That are counted, after the warm-up, in which a change is there already."""

RAREST: Final = "PHL"
"""The slice that changes: a twentieth of the rows."""

CHANGES: Final = {
    "nothing": QUIET,
    "shift of .5 sd": Change(shift=0.5, only_in=RAREST),
    "shift of 1 sd": Change(shift=1.0, only_in=RAREST),
}


@dataclass(frozen=True, slots=True)
class SlicedWorld:
    """What the weeks of one world showed.

    Attributes:
        measured: Columns in slices, over all weeks.
        weeks_out: Weeks in which some column stands out in a slice without its change.
        weeks_lasting: Weeks in which some lasts there.
        planted: Columns that have changed, over all weeks.
        found: Those of them that last in their slice.
        alarms: Weeks with an alarm over all rows.
    """

    measured: int
    weeks_out: int
    weeks_lasting: int
    planted: int
    found: int
    alarms: int


def sliced_world(seed: int, change: Change, nature: Nature) -> SlicedWorld:
    """One world of 50 columns in five slices."""
    hit = {f"n{place:03}" for place in range(change.shifted)} if change.only_in else set()
    measured = weeks_out = weeks_lasting = found = alarms = 0
    reports = judged_weeks(seed, [change] * (WARM_UP_WEEKS + WEEKS), nature=nature, sliced=True)
    for week, report in enumerate(reports):
        if week < WARM_UP_WEEKS or report.slices is None:
            continue
        measured += report.slices.measured
        alarms += any(point.is_alarm for point in report.points)
        # The score of changed rows changes with them.
        others = [
            point
            for point in report.slices.points
            if point.slice_value != change.only_in or point.feature not in {*hit, "score"}
        ]
        weeks_out += any(point.stands_out for point in others)
        weeks_lasting += any(point.lasts for point in others)
        found += sum(
            point.lasts
            for point in report.slices.points
            if point.slice_value == change.only_in and point.feature in hit
        )
    return SlicedWorld(measured, weeks_out, weeks_lasting, WEEKS * len(hit), found, alarms)
