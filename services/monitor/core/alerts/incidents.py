"""Incidents: alerts that have one cause, and are told to people once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.monitor.core.alerts.alerting import Alert, AlertState
from services.monitor.core.slos.budgets import Severity

QUIET: Final = timedelta(hours=2)
"""How long an incident has to be quiet before an alert of it ends by itself, and for how long
after that it still takes up what shares its cause: a job or a node that fails now and then is one
alert."""

MOST_ALERTS: Final = 50
"""Of one incident at a time; failures of still more jobs are counted by its first alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Alerts with one cause.

    Attributes:
        id: That its alerts bear.
        severity: Of the loudest alert that is not over, or of all once they are.
        state: OPEN while nobody sees to one of them, RESOLVED once all are over.
        cause: What its alerts share, such as `node n7`; for objectives, their monitor.
        error_classes: Of its alerts, sorted.
        alerts: How many.
        unresolved: How many are not over.
        failures: Of training jobs, that they stand for.
        owners: Who is asked, sorted.
        runbook: Of the loudest alert.
        summary: Of the loudest alert.
        create_time: When the first was opened.
        update_time: When one last changed.
    """

    id: str
    severity: Severity
    state: AlertState
    cause: str
    error_classes: tuple[str, ...]
    alerts: int
    unresolved: int
    failures: int
    owners: tuple[str, ...]
    runbook: str
    summary: str
    create_time: datetime
    update_time: datetime


def incidents_of(alerts: Iterable[Alert]) -> list[Incident]:
    """The incidents of these alerts: pages first, and of those the newest."""
    grouped: dict[str, list[Alert]] = {}
    for alert in alerts:
        grouped.setdefault(alert.incident, []).append(alert)
    newest_first = sorted(
        map(_incident, grouped.values()), key=lambda each: each.create_time, reverse=True
    )
    return sorted(newest_first, key=lambda each: each.severity is not Severity.PAGE)


def _incident(alerts: Sequence[Alert]) -> Incident:
    unresolved = [each for each in alerts if each.state is not AlertState.RESOLVED]
    loudest = min(unresolved or alerts, key=lambda each: each.severity is not Severity.PAGE)
    return Incident(
        id=loudest.incident,
        severity=loudest.severity,
        state=_state(unresolved),
        cause=_cause(alerts),
        error_classes=tuple(sorted({each.error_class for each in alerts})),
        alerts=len(alerts),
        unresolved=len(unresolved),
        failures=sum(each.trouble.failures for each in alerts if each.trouble is not None),
        owners=tuple(sorted({each.owner for each in alerts if each.owner})),
        runbook=loudest.runbook,
        summary=loudest.summary,
        create_time=min(each.meta.create_time for each in alerts),
        update_time=max(each.meta.update_time for each in alerts),
    )


def _state(unresolved: Sequence[Alert]) -> AlertState:
    if not unresolved:
        return AlertState.RESOLVED
    if any(each.state is AlertState.OPEN for each in unresolved):
        return AlertState.OPEN
    return AlertState.ACKNOWLEDGED


def _cause(alerts: Sequence[Alert]) -> str:
    """What most of the alerts share; of several, the one that the rule names first."""
    counts: dict[str, int] = {}
    for alert in alerts:
        for cause in alert.causes:
            counts[cause] = counts.get(cause, 0) + 1
    return max(counts, key=lambda cause: counts[cause], default="")
