"""Alerts, and what a reading of an objective makes of them.

Each field is described in protos/roundhouse/monitor/v1/alert.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.resources import Meta
from services.monitor.core.alerts.failures import Trouble
from services.monitor.core.names import parent_of
from services.monitor.core.slos.budgets import Burning, Severity, SloReading

MONITOR_ACTOR: Final = "monitor"


class ErrorClass(StrEnum):
    """What is wrong."""

    BURN_RATE = "BURN_RATE"
    BUDGET_SPENT = "BUDGET_SPENT"
    TRAINING_FROZEN = "TRAINING_FROZEN"
    ROLLOUTS_STOPPED = "ROLLOUTS_STOPPED"


OF_RULES: Final = (ErrorClass.BURN_RATE, ErrorClass.BUDGET_SPENT)
"""What an objective's rules say; there is one alert for either at most."""


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class AlertAction(StrEnum):
    """What was done about an alert."""

    OPENED = "OPENED"
    ESCALATED = "ESCALATED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    SILENCED = "SILENCED"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class AlertStep:
    """Who did what, and why.

    Attributes:
        receiver: Who was told besides those who are told of every alert; empty: nobody.
    """

    action: AlertAction
    actor: str
    reason: str
    time: datetime
    receiver: str = ""

    @property
    def raises(self) -> bool:
        """Whether it made a page of a ticket."""
        return self.action is AlertAction.ESCALATED and not self.receiver


@dataclass(frozen=True, slots=True)
class Firing:
    """That a rule fires.

    Attributes:
        summary: With the numbers.
        event_time: Up to which was counted.
        burn_rate: Of the long window; 0 where nothing burns.
        remaining: Share of the budget that is left.
    """

    error_class: ErrorClass
    severity: Severity
    summary: str
    event_time: datetime
    burn_rate: float = 0.0
    remaining: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person has to see to.

    Attributes:
        trouble: Set where it is about training jobs, only there.
    """

    meta: Meta
    resource: str
    error_class: str
    severity: Severity
    state: AlertState
    incident: str
    summary: str
    event_time: datetime
    owner: str
    runbook: str
    burn_rate: float = 0.0
    remaining: float = 0.0
    silenced_until: datetime | None = None
    trouble: Trouble | None = None
    steps: tuple[AlertStep, ...]

    @property
    def loud_since(self) -> datetime:
        """When it got the severity that it has."""
        return max(
            step.time for step in self.steps if step.action is AlertAction.OPENED or step.raises
        )

    @property
    def unheeded_since(self) -> datetime | None:
        """Since when nobody has said that they see to it; None while somebody does."""
        since = None
        for step in self.steps:
            match step.action:
                case AlertAction.OPENED:
                    since = step.time
                case AlertAction.ACKNOWLEDGED:
                    since = None
                case AlertAction.ESCALATED if step.raises or since is None:
                    since = step.time
                case _:
                    pass
        return since

    @property
    def receivers(self) -> tuple[str, ...]:
        """Who it went up to, in the order of time."""
        return tuple(dict.fromkeys(step.receiver for step in self.steps if step.receiver))

    @property
    def is_told(self) -> bool:
        """Whether people were told of it: not so for what only joins an incident."""
        return self.trouble is None or self.trouble.speaks

    @property
    def causes(self) -> tuple[str, ...]:
        """What other alerts of its incident may share."""
        return (parent_of(self.meta.name),) if self.trouble is None else self.trouble.causes

    def is_silent(self, now: datetime) -> bool:
        """Whether nothing is sent about it."""
        return self.silenced_until is not None and now < self.silenced_until

    def outranked_by(self, firing: Firing) -> bool:
        """Whether what fires is louder."""
        return firing.severity is Severity.PAGE and self.severity is Severity.TICKET

    def escalated(self, firing: Firing, now: datetime) -> Alert:
        """A page from now on, which nobody has acknowledged."""
        return replace(
            self.paging(firing.summary, firing.event_time, now),
            burn_rate=firing.burn_rate,
            remaining=firing.remaining,
        )

    def paging(self, summary: str, event_time: datetime, now: datetime) -> Alert:
        """A page from now on, for this reason, which nobody has acknowledged and all are told."""
        step = AlertStep(AlertAction.ESCALATED, MONITOR_ACTOR, summary, now)
        return replace(
            self._after(step),
            state=AlertState.OPEN,
            severity=Severity.PAGE,
            summary=summary,
            event_time=event_time,
            trouble=self.trouble and replace(self.trouble, speaks=True),
        )

    def raised(self, actor: str, reason: str, now: datetime) -> Alert:
        """A page from now on, because `actor` wants it."""
        step = AlertStep(AlertAction.ESCALATED, actor, reason, now)
        return replace(self._called(step), severity=Severity.PAGE)

    def handed_up(self, receiver: str, actor: str, reason: str, now: datetime) -> Alert:
        """Told to `receiver` too; nobody has acknowledged it, and it is silent no more."""
        return self._called(AlertStep(AlertAction.ESCALATED, actor, reason, now, receiver))

    def acknowledged(self, actor: str, reason: str, now: datetime) -> Alert:
        """Seen to by `actor`."""
        step = AlertStep(AlertAction.ACKNOWLEDGED, actor, reason, now)
        return replace(self._after(step), state=AlertState.ACKNOWLEDGED)

    def silenced(self, actor: str, reason: str, until: datetime, now: datetime) -> Alert:
        """Quiet until then."""
        step = AlertStep(AlertAction.SILENCED, actor, reason, now)
        return replace(self._after(step), silenced_until=until)

    def resolved(self, actor: str, reason: str, now: datetime) -> Alert:
        """Over."""
        step = AlertStep(AlertAction.RESOLVED, actor, reason, now)
        return replace(self._after(step), state=AlertState.RESOLVED)

    def _called(self, step: AlertStep) -> Alert:
        return replace(
            self._after(step),
            state=AlertState.OPEN,
            silenced_until=None,
            trouble=self.trouble and replace(self.trouble, speaks=True),
        )

    def _after(self, step: AlertStep) -> Alert:
        return replace(self, meta=self.meta.touched(step.time), steps=(*self.steps, step))


def firing_of(reading: SloReading) -> Firing | None:
    """The loudest thing that an objective's rules say; None when none fires."""
    firing = [each for each in reading.burning if each.firing]
    if not firing or reading.time is None:
        return None
    loudest = min(firing, key=lambda each: each.rule.severity is not Severity.PAGE)
    requests = reading.slo.sli.kind.counts_requests
    error_class = ErrorClass.BURN_RATE if requests else ErrorClass.BUDGET_SPENT
    return Firing(
        error_class,
        loudest.rule.severity,
        _summary(reading, loudest),
        reading.time,
        float(loudest.long_rate),
        float(reading.budget.remaining),
    )


def _summary(reading: SloReading, burning: Burning) -> str:
    rule, left = burning.rule, float(reading.budget.remaining)
    stands = f"{left:.1%} of it is left" if left >= 0 else f"it is spent {1 - left:.3g} times over"
    return (
        f"{burning.bad_events} bad events in {span_of(rule.long)} burn the budget "
        f"{float(burning.long_rate):.3g} times as fast as allowed, "
        f"{float(burning.short_rate):.3g} times in the last {span_of(rule.short)} "
        f"(above {float(rule.factor):g}); {stands}."
    )


def span_of(time: timedelta) -> str:
    """A length of time as people say it: `15 min`, `6 h`."""
    for unit, name in ((timedelta(days=1), "d"), (timedelta(hours=1), "h")):
        if time >= unit:
            return f"{time / unit:g} {name}"
    return f"{time / timedelta(minutes=1):g} min"
