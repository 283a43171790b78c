"""Weeks, months and quarters of a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import assert_never
from zoneinfo import ZoneInfo


class PeriodKind(StrEnum):
    """How long a report looks back."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"


@dataclass(frozen=True, slots=True)
class Period:
    """A span of whole days of a time zone.

    Attributes:
        start: Midnight that begins its first day, in the zone.
        end: Midnight that ends its last day, in the zone; exclusive.
    """

    kind: PeriodKind
    start: datetime
    end: datetime
    zone: ZoneInfo

    @property
    def last_day(self) -> date:
        """The last day that belongs to it."""
        return self.end.date() - timedelta(days=1)

    @property
    def title(self) -> str:
        """Such as `week 47 of 2026`, `November 2026` or `quarter 4 of 2026`."""
        match self.kind:
            case PeriodKind.WEEKLY:
                year, week, _ = self.start.isocalendar()
                return f"week {week} of {year}"
            case PeriodKind.MONTHLY:
                return f"{self.start:%B %Y}"
            case PeriodKind.QUARTERLY:
                return f"quarter {self.start.month // 3 + 1} of {self.start.year}"
            case _:
                assert_never(self.kind)


def period_with(kind: PeriodKind, day: date, zone: ZoneInfo) -> Period:
    """The period that a day belongs to; weeks begin on Monday (ISO 8601)."""
    match kind:
        case PeriodKind.WEEKLY:
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(weeks=1)
        case PeriodKind.MONTHLY:
            first = day.replace(day=1)
            after = _months_later(first, 1)
        case PeriodKind.QUARTERLY:
            first = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
            after = _months_later(first, 3)
        case _:
            assert_never(kind)
    return Period(kind, _midnight(first, zone), _midnight(after, zone), zone)


def last_period(kind: PeriodKind, now: datetime, zone: ZoneInfo) -> Period:
    """The newest period that is over."""
    present = period_with(kind, now.astimezone(zone).date(), zone)
    return period_with(kind, present.start.date() - timedelta(days=1), zone)


def _months_later(first: date, months: int) -> date:
    years, month = divmod(first.month - 1 + months, 12)
    return first.replace(year=first.year + years, month=month + 1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
