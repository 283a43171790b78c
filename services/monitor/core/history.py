"""What the loop of a monitor is at, and was."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.money import Money


@dataclass(frozen=True, slots=True)
class History:
    """What the loop is at, and was.

    Attributes:
        active_episode: Of the monitor, by resource name; empty if none is under way.
        last_end: Event time at which the newest finished episode ended.
        last_start: Event time of the decision that started the newest episode.
        charges: What episodes cost, where that is known, with the event time of the decision;
            oldest first.
        new_features: Columns that were new already when an earlier episode was decided on.
    """

    active_episode: str = ""
    last_end: datetime | None = None
    last_start: datetime | None = None
    charges: Sequence[tuple[datetime, Money]] = ()
    new_features: Collection[str] = ()

    def after_new_features(self, columns: Collection[str]) -> tuple[str, ...]:
        """What an episode has seen to, that is decided on while these columns are new."""
        return tuple(sorted({*self.new_features, *columns}))

    def charged(self, currency: str, since: datetime) -> int:
        """Millionths of a unit that episodes decided on after `since` cost."""
        return sum(
            cost.micros
            for moment, cost in self.charges
            if cost.currency == currency and moment > since
        )

    def expected_cost(self, currency: str) -> int | None:
        """Millionths of a unit that the newest episode cost; None if none is known."""
        known = [cost.micros for _, cost in self.charges if cost.currency == currency]
        return known[-1] if known else None
