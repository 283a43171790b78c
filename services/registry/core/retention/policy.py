"""What of a series is kept although nothing else keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What stays by itself.

    Attributes:
        keep_last: The newest so many, at least 1.
        keep_younger_than: And what was created since so long; None keeps none by age.
    """

    keep_last: int
    keep_younger_than: timedelta | None = None

    def keeps(self, newer: int, create_time: datetime, now: datetime) -> bool:
        """Whether one stays that has `newer` newer ones beside it."""
        if newer < self.keep_last:
            return True
        return self.keep_younger_than is not None and now - create_time < self.keep_younger_than

    def why_not(self, series: str) -> str:
        """For people: why something of `series` that isn't kept is not."""
        age = (
            ""
            if self.keep_younger_than is None
            else f" nor younger than {self.keep_younger_than.total_seconds():.0f} s"
        )
        return f"it is not among the newest {self.keep_last} of {series}{age}"


@dataclass(frozen=True, slots=True)
class RetentionChange:
    """Another policy for a series; None keeps everything from now on."""

    policy: RetentionPolicy | None
