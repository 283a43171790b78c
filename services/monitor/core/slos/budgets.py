"""Error budgets and burn rates, in whole numbers and exact fractions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final, Protocol

from services.monitor.core.errors import BudgetNotKept
from services.monitor.core.slos.objectives import Slo


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a span of time; `good` of `total`."""

    good: int
    total: int

    @property
    def bad(self) -> int:
        """Events that aren't good."""
        return self.total - self.good


class Counted(Protocol):
    """Events of an SLI by event time."""

    @property
    def until(self) -> datetime | None:
        """End of the time that holds the newest event, exclusive; None when there is none."""
        ...

    @property
    def kept(self) -> timedelta:
        """How far before `until` events are known."""
        ...

    def over(self, window: timedelta) -> Counts:
        """Those of the last `window` before `until`."""
        ...


class AsOf:
    """Implements `Counted` over the events before a time; the later ones are taken off.

    Args:
        counted: All events; at least one.
        end: The time, exclusive, not after `counted.until`.
    """

    def __init__(self, counted: Counted, end: datetime) -> None:
        assert counted.until is not None
        self._counted = counted
        self._end = end
        self._later = counted.until - end

    @property
    def until(self) -> datetime | None:
        """See `Counted`."""
        return self._end

    @property
    def kept(self) -> timedelta:
        """See `Counted`."""
        return self._counted.kept - self._later

    def over(self, window: timedelta) -> Counts:
        """See `Counted`."""
        both, later = self._counted.over(window + self._later), self._counted.over(self._later)
        return Counts(both.good - later.good, both.total - later.total)


class Severity(StrEnum):
    """How loud a rule is."""

    PAGE = "PAGE"
    TICKET = "TICKET"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Fires where both windows burn faster than `factor`."""

    severity: Severity
    factor: Fraction
    long: timedelta
    short: timedelta


REQUEST_RULES: Final = (
    BurnRule(Severity.PAGE, Fraction("14.4"), timedelta(hours=1), timedelta(minutes=5)),
    BurnRule(Severity.PAGE, Fraction(6), timedelta(hours=6), timedelta(minutes=30)),
    BurnRule(Severity.TICKET, Fraction(1), timedelta(days=3), timedelta(hours=6)),
)
"""2, 5 and 10 % of a budget of 30 days in the long window; the short one ends the alert soon after
the fault (The Site Reliability Workbook, 2018, table 5-8)."""


@dataclass(frozen=True, slots=True)
class Burning:
    """What a rule says.

    Attributes:
        bad_events: In the long window.
    """

    rule: BurnRule
    long_rate: Fraction
    short_rate: Fraction
    bad_events: int
    firing: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """What an objective allows for the events of its window, and what is left of it."""

    target: Fraction
    counts: Counts

    @property
    def sli(self) -> Fraction:
        """Share of good events; 1 when there is none at all."""
        return Fraction(self.counts.good, self.counts.total) if self.counts.total else Fraction(1)

    @property
    def allowed(self) -> Fraction:
        """Bad events that the objective allows; need not be whole."""
        return (1 - self.target) * self.counts.total

    @property
    def consumed(self) -> Fraction:
        """Share of the budget that is spent."""
        return burn_rate(self.counts, self.target)

    @property
    def remaining(self) -> Fraction:
        """Share that is left; below 0 when the objective is missed."""
        return 1 - self.consumed


def burn_rate(counts: Counts, target: Fraction) -> Fraction:
    """How many times faster than allowed bad events came; 0 when there were no events."""
    return Fraction(counts.bad, counts.total) / (1 - target) if counts.total else Fraction(0)


@dataclass(frozen=True, slots=True)
class SloReading:
    """How an objective stands.

    Attributes:
        time: End of its window, event time; None before the first event.
    """

    slo: Slo
    time: datetime | None
    budget: Budget
    burning: tuple[Burning, ...]


def read_slo(slo: Slo, counted: Counted, end: datetime | None = None) -> SloReading:
    """How an objective stands on these events.

    Args:
        slo: The objective.
        counted: The events.
        end: When to look at it, cut to whole minutes; None, or after the newest event: then.

    Raises:
        BudgetNotKept: The events of that time are not known any more.
    """
    target = slo.exact_target
    if end is not None and counted.until is not None and end < counted.until:
        counted = AsOf(counted, end.replace(second=0, microsecond=0))
        if counted.kept < slo.window:
            raise BudgetNotKept(slo.meta.name, end)
    return SloReading(
        slo,
        counted.until,
        Budget(target, counted.over(slo.window)),
        tuple(_burning(rule, slo, counted) for rule in rules_of(slo)),
    )


def rules_of(slo: Slo) -> Iterable[BurnRule]:
    """Windows and jobs are too few for burn rates: there, a ticket tells that all is spent."""
    if slo.sli.kind.counts_requests:
        return REQUEST_RULES
    return (BurnRule(Severity.TICKET, Fraction(1), slo.window, slo.window),)


def _burning(rule: BurnRule, slo: Slo, counted: Counted) -> Burning:
    long, short = counted.over(rule.long), counted.over(rule.short)
    long_rate = burn_rate(long, slo.exact_target)
    short_rate = burn_rate(short, slo.exact_target)
    return Burning(
        rule,
        long_rate,
        short_rate,
        long.bad,
        min(long_rate, short_rate) > rule.factor and long.bad >= slo.min_bad_events,
    )
