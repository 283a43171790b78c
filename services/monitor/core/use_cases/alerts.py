"""Alerts: opened, escalated, seen to and ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from services.common.errors import FieldViolation, InvalidRequest
from services.common.resources import existing
from services.monitor.core.alerts.alerting import (
    MONITOR_ACTOR,
    OF_RULES,
    Alert,
    AlertAction,
    AlertState,
    AlertStep,
    ErrorClass,
    Firing,
    firing_of,
)
from services.monitor.core.errors import AlertNotFound, AlertResolved
from services.monitor.core.names import ALERT, JOB_ALERT
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.budgets import Severity, SloReading
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.use_cases.identities import new_child_meta

RUNBOOKS: Final = {
    ErrorClass.BURN_RATE: "docs/runbooks/objectives/burn-rate.md",
    ErrorClass.BUDGET_SPENT: "docs/runbooks/objectives/budget-spent.md",
    ErrorClass.TRAINING_FROZEN: "docs/runbooks/objectives/training-frozen.md",
    ErrorClass.ROLLOUTS_STOPPED: "docs/runbooks/objectives/rollouts-stopped.md",
}
"""Those that ship, for objectives that name none."""


def the_alert(tx: MonitorTx, name: str) -> Alert:
    """The alert.

    Raises:
        AlertNotFound: There is none.
    """
    kind = JOB_ALERT if JOB_ALERT.matches(name) else ALERT
    return existing(tx.alerts, kind, name, AlertNotFound)


def page_since(tx: MonitorTx, endpoint: str, since: datetime) -> Alert | None:
    """The page of an objective of the endpoint that nobody has resolved and that began no earlier.

    None if there is none: what burned before is not the doing of what began since.
    """
    monitor = tx.monitor_of(endpoint)
    if monitor is None:
        return None
    alerts = (_alert_of_rules(tx, slo.meta.name) for slo in tx.slos.under(monitor.meta.name))
    pages = (each for each in alerts if each is not None and each.severity is Severity.PAGE)
    return next((each for each in pages if each.loud_since >= since), None)


def burning(tx: MonitorTx, slo: str) -> Alert | None:
    """The alert of an objective whose rules fire, unless it is over."""
    return _alert_of_rules(tx, slo)


def needs_settling(tx: MonitorTx, reading: SloReading) -> bool:
    """Whether `settle_alert` would change anything."""
    firing, alert = firing_of(reading), _alert_of_rules(tx, reading.slo.meta.name)
    if firing is None or alert is None:
        return (firing is None) != (alert is None)
    return alert.outranked_by(firing)


def settle_alert(tx: MonitorTx, monitor: Monitor, reading: SloReading) -> None:
    """Open, escalate or end an objective's alert as its rules say; again changes nothing."""
    slo = tx.slos.get(reading.slo.meta.name)
    if slo is None or slo.meta.uid != reading.slo.meta.uid:
        return
    firing, alert = firing_of(reading), _alert_of_rules(tx, slo.meta.name)
    if alert is None:
        if firing is not None:
            open_alert(tx, monitor, slo, firing)
    elif firing is None:
        save_alert(tx, alert.resolved(MONITOR_ACTOR, "No rule fires any more.", tx.now))
    elif alert.outranked_by(firing):
        save_alert(tx, alert.escalated(firing, tx.now))


def acknowledge_alert(tx: MonitorTx, name: str, *, actor: str, reason: str) -> Alert:
    """The alert, seen to by `actor`.

    Raises:
        AlertNotFound, AlertResolved: There is none, or it is over.
    """
    return save_alert(tx, unresolved(tx, name).acknowledged(actor, reason, tx.now))


def silence_alert(tx: MonitorTx, name: str, *, actor: str, reason: str, until: datetime) -> Alert:
    """The alert, of which nothing is sent until then.

    Raises:
        AlertNotFound, AlertResolved: There is none, or it is over.
        InvalidRequest: `until` is in the past.
    """
    alert = unresolved(tx, name)
    if until <= tx.now:
        raise InvalidRequest([FieldViolation("until_time", "must be in the future")])
    return save_alert(tx, alert.silenced(actor, reason, until, tx.now))


def resolve_alert(tx: MonitorTx, name: str, *, actor: str, reason: str) -> Alert:
    """The alert, ended.

    Raises:
        AlertNotFound, AlertResolved: There is none, or it is over.
    """
    return save_alert(tx, unresolved(tx, name).resolved(actor, reason, tx.now))


def open_alert(tx: MonitorTx, monitor: Monitor, slo: Slo, firing: Firing) -> None:
    """Open the alert of an objective about something of which it has none."""
    meta = new_child_meta(tx, monitor.meta.name, "alerts")
    alert = Alert(
        meta=meta,
        resource=slo.meta.name,
        error_class=firing.error_class,
        severity=firing.severity,
        state=AlertState.OPEN,
        incident=tx.open_incident(monitor.meta.name) or meta.uid,
        summary=firing.summary,
        event_time=firing.event_time,
        burn_rate=firing.burn_rate,
        remaining=firing.remaining,
        owner=slo.owner or monitor.owner,
        runbook=slo.runbook or RUNBOOKS[firing.error_class],
        steps=(AlertStep(AlertAction.OPENED, MONITOR_ACTOR, firing.summary, tx.now),),
    )
    add_alert(tx, alert)


def add_alert(tx: MonitorTx, alert: Alert) -> None:
    """Store a new alert, and tell of it."""
    tx.alerts.add(alert)
    _tell(tx, alert)


def save_alert(tx: MonitorTx, alert: Alert) -> Alert:
    """The alert after its newest step, stored and told."""
    tx.alerts.replace(alert)
    _tell(tx, alert)
    return alert


def save_quietly(tx: MonitorTx, alert: Alert) -> None:
    """Store what has changed of an alert without a step, and tell nobody."""
    tx.alerts.replace(replace(alert, meta=alert.meta.touched(tx.now)))


def end_alert(tx: MonitorTx, slo: str, error_class: ErrorClass, reason: str) -> None:
    """End the alert of an objective about something, if it has one."""
    alert = tx.unresolved_alert(slo, error_class)
    if alert is not None:
        save_alert(tx, alert.resolved(MONITOR_ACTOR, reason, tx.now))


def _alert_of_rules(tx: MonitorTx, slo: str) -> Alert | None:
    return tx.unresolved_alert(slo, *OF_RULES)


def unresolved(tx: MonitorTx, name: str) -> Alert:
    """The alert.

    Raises:
        AlertNotFound, AlertResolved: There is none, or it is over.
    """
    alert = the_alert(tx, name)
    if alert.state is AlertState.RESOLVED:
        raise AlertResolved(name)
    return alert


def _tell(tx: MonitorTx, alert: Alert) -> None:
    step, trouble = alert.steps[-1], alert.trouble
    unheard = not alert.is_told and step.actor == MONITOR_ACTOR
    tx.tell(
        f"alert.{step.action.lower()}",
        alert.meta.name,
        {
            "resource": alert.resource,
            "error_class": alert.error_class,
            "severity": alert.severity.value,
            "incident": alert.incident,
            "summary": alert.summary,
            "owner": alert.owner,
            "runbook": alert.runbook,
            "actor": step.actor,
            "reason": step.reason,
            "receiver": step.receiver,
            "receivers": alert.receivers,
            "silent": unheard or alert.is_silent(tx.now),
            **({} if trouble is None else {"job": trouble.failure.job, "causes": trouble.causes}),
        },
    )
