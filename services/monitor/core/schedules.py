"""Moments at which retraining is due by the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """Moments that a cron expression names, as Debian's cron takes it.

    Attributes:
        expression: Five fields: minute, hour, day of month, month, day of week.
        time_zone: Of the IANA database; where clocks change, its local time counts.
    """

    expression: str
    time_zone: str = "UTC"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment later than `moment`, UTC; None if it names none in 50 years."""
        local = moment.astimezone(ZoneInfo(self.time_zone))
        due = next(CronSim(self.expression, local), None)
        return None if due is None else due.astimezone(UTC)


def expression_fault(expression: str) -> str:
    """What is wrong with a cron expression; empty if nothing."""
    example = "; five fields are wanted, such as '0 6 * * mon'"
    if len(expression.split()) != 5:
        return f"{expression!r} is no cron expression{example}"
    try:
        due = CronSchedule(expression).next_after(_ANY_TIME)
    except CronSimError as error:
        return f"{expression!r} is no cron expression: {error}{example}"
    return "" if due else f"{expression!r} never comes"


def time_zone_fault(time_zone: str) -> str:
    """What is wrong with the name of a time zone; empty if nothing."""
    if time_zone in available_timezones():
        return ""
    return f"{time_zone!r} is no time zone; one such as 'Europe/Berlin' is wanted"
