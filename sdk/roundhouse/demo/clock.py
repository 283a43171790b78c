"""A clock that runs through a year in minutes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

_DAY_US: Final = 86_400_000_000


@dataclass
class FastClock:
    """Event time as a multiple of real time.

    While a model is being trained the clock runs slower: a training takes minutes of a real
    year, not the month that it would take of a year which passes in minutes. When the services
    can't keep up the clock waits; nothing is dropped.

    Attributes:
        days_per_s: Days of event time per second.
        days_per_s_while_training: The same while a model is being trained.
        is_training: Whether one is.
        now_us: Event time, microseconds since the epoch; 0 before the first wait.
    """

    days_per_s: float
    days_per_s_while_training: float
    is_training: bool = False
    now_us: int = 0
    _at_s: float = 0.0

    async def wait_until(self, event_us: int) -> None:
        """Return when `event_us` has come; at once the first time."""
        if self.now_us:
            days = (event_us - self.now_us) / _DAY_US
            rate = self.days_per_s_while_training if self.is_training else self.days_per_s
            wait_s = self._at_s + days / rate - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
        self.now_us = event_us
        self._at_s = max(self._at_s, time.monotonic())
