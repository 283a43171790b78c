"""Event time, cut into windows of one length that never move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

ANCHOR: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""A start of every length of window: a Monday, so that windows of 7 days are weeks."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A span of event time: from `start`, inclusive, to `end`, exclusive; UTC."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        """Its start as the last part of a resource name, such as `20130304t000000z`."""
        return self.start.strftime("%Y%m%dt%H%M%Sz")


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The moment, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def window_at(moment: datetime, length: timedelta) -> Window:
    """The window of `length` that holds `moment`."""
    start = ANCHOR + (moment - ANCHOR) // length * length
    return Window(start, start + length)
