"""Failures of training jobs: noted once each, made into alerts, and these into incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from services.monitor.core.alerts.alerting import (
    MONITOR_ACTOR,
    Alert,
    AlertAction,
    AlertState,
    AlertStep,
)
from services.monitor.core.alerts.failures import (
    RULES,
    Findings,
    JobFailure,
    NotedFailure,
    Trouble,
    causes_of,
    rule_of,
)
from services.monitor.core.alerts.incidents import MOST_ALERTS, QUIET
from services.monitor.core.names import parent_of
from services.monitor.core.ports import MonitorTx
from services.monitor.core.slos.budgets import Severity
from services.monitor.core.use_cases.alerts import add_alert, save_alert, save_quietly
from services.monitor.core.use_cases.identities import new_child_meta, new_meta

KEPT: Final = timedelta(days=30)
"""How long a failure is kept. Its alert is kept on."""


def is_news(tx: MonitorTx, failure: JobFailure) -> bool:
    """Whether the failure has not been noted yet."""
    return tx.job_failures.get(failure.name) is None


def calls_somebody(tx: MonitorTx, failure: JobFailure) -> bool:
    """Whether noting the failure would open an alert."""
    return _open_alert_about(tx, failure) is None and not _is_held(tx, failure)


def note_failure(tx: MonitorTx, failure: JobFailure, findings: Findings) -> None:
    """Note a failure, and open or go on with the alert about it; again changes nothing.

    Args:
        tx: The transaction.
        failure: Of one attempt.
        findings: At its job; asked for only where `calls_somebody`.
    """
    if not is_news(tx, failure):
        return
    alert = _open_alert_about(tx, failure)
    if alert is not None:
        _go_on(tx, alert, failure)
    elif not _is_held(tx, failure):
        _open(tx, failure, findings, failure.message)
    noted = NotedFailure(new_meta(tx, failure.name), failure, is_over=failure.is_final)
    tx.job_failures.add(noted)


def note_end(tx: MonitorTx, job: str, line: str, recovery: str) -> None:
    """Note that a job is over, or goes on, so that what was wrong with its line has ended.

    Args:
        tx: The transaction.
        job: By resource name.
        line: What alerts about it are about.
        recovery: Why it is no trouble any more; empty where it is: then only the job is over.
    """
    for noted in tx.open_failures_of(job):
        tx.job_failures.replace(noted.of_ended_job(tx.now))
    if recovery:
        for alert in tx.unresolved_alerts_about(line):
            recover(tx, alert, recovery)


def go_on(tx: MonitorTx, line: str, error_class: str, recovery: str) -> None:
    """Note that a line goes on after what was wrong by one class."""
    alert = tx.unresolved_alert(line, error_class)
    if alert is not None:
        recover(tx, alert, recovery)


def recover(tx: MonitorTx, alert: Alert, recovery: str) -> None:
    """Have an alert end once its incident has been quiet for long enough."""
    if alert.trouble is not None and alert.trouble.recovered_time is None:
        save_quietly(tx, replace(alert, trouble=alert.trouble.recovered(recovery, tx.now)))


def needs_settling(tx: MonitorTx) -> bool:
    """Whether `settle_recovered` would change anything."""
    return bool(_settled(tx))


def settle_recovered(tx: MonitorTx) -> None:
    """End the alerts that have recovered, of incidents that are quiet; again changes nothing."""
    for alert, recovery in _settled(tx):
        save_alert(tx, alert.resolved(MONITOR_ACTOR, recovery, tx.now))


def stalled_jobs(tx: MonitorTx) -> Sequence[JobFailure]:
    """The newest held failure of each job that has got no further for longer than is held.

    As far as is known: whether it has meanwhile, the trainer knows.
    """
    found: list[JobFailure] = []
    for error_class, rule in RULES.items():
        if rule.hold is None or rule.hold.stalled is None:
            continue
        by_job: dict[str, list[JobFailure]] = {}
        for noted in tx.failures_not_over(error_class):
            by_job.setdefault(noted.failure.job, []).append(noted.failure)
        for failures in by_job.values():
            newest = failures[-1]
            since = min(each.time for each in failures if each.progress >= newest.progress)
            if tx.now - since >= rule.hold.stalled and _open_alert_about(tx, newest) is None:
                found.append(newest)
    return found


def note_stall(tx: MonitorTx, failure: JobFailure, findings: Findings) -> None:
    """Open the alert about a job that gets no further; again changes nothing."""
    if _open_alert_about(tx, failure) is None:
        told = f"It has got no further than {failure.progress:.0%} since. {failure.message}"
        _open(tx, failure, findings, told)


def forget_old(tx: MonitorTx) -> None:
    """Forget failures that are too old to be looked at."""
    tx.forget_failures(tx.now - KEPT)


def _open_alert_about(tx: MonitorTx, failure: JobFailure) -> Alert | None:
    return tx.unresolved_alert(failure.line, failure.error_class)


def _is_held(tx: MonitorTx, failure: JobFailure) -> bool:
    """Whether it is nobody's business yet, this failure counted."""
    hold = rule_of(failure.error_class).hold
    if hold is None or failure.is_final:
        return False
    since = failure.time - hold.within
    of_line, of_node = tx.count_failures(failure, since)
    return 1 + max(of_line, of_node if hold.of_node else 0) < hold.failures


def _open(tx: MonitorTx, failure: JobFailure, findings: Findings, what: str) -> None:
    causes, rule = causes_of(failure), rule_of(failure.error_class)
    meta = new_child_meta(tx, failure.project, "alerts")
    others = _of_one_incident(tx, failure.project, failure.error_class, causes)
    severity = rule.severity(failure, 1 + len({each.resource for each in others}))
    unresolved = [each for each in others if each.state is not AlertState.RESOLVED]
    if len(unresolved) >= MOST_ALERTS:
        _go_on(tx, unresolved[0], failure)
        return
    heard = [each.severity for each in unresolved if each.trouble and each.trouble.speaks]
    summary = f"Attempt {failure.attempt} failed with {failure.error_class}: {what}"
    alert = Alert(
        meta=meta,
        resource=failure.line,
        error_class=failure.error_class,
        severity=severity,
        state=AlertState.OPEN,
        incident=others[0].incident if others else meta.uid,
        summary=summary,
        event_time=failure.time,
        owner=failure.owner,
        runbook=rule.runbook,
        trouble=Trouble(
            failure=failure,
            findings=findings,
            causes=causes,
            last_time=failure.time,
            speaks=not heard or (severity is Severity.PAGE and Severity.PAGE not in heard),
        ),
        steps=(AlertStep(AlertAction.OPENED, MONITOR_ACTOR, summary, tx.now),),
    )
    add_alert(tx, _seen_to_as(unresolved, alert))


def _seen_to_as(others: Sequence[Alert], alert: Alert) -> Alert:
    """The alert as silent as its whole incident, and seen to like that unless it is louder."""
    silences = [each.silenced_until for each in others if each.silenced_until is not None]
    if others and len(silences) == len(others):
        alert = replace(alert, silenced_until=max(silences))
    assert alert.trouble is not None
    if alert.trouble.speaks or any(each.state is AlertState.OPEN for each in others):
        return alert
    actor = next(
        step.actor for step in reversed(others[0].steps) if step.action is AlertAction.ACKNOWLEDGED
    )
    now = alert.meta.create_time
    seen = AlertStep(AlertAction.ACKNOWLEDGED, actor, "Sees to its incident.", now)
    return replace(alert, state=AlertState.ACKNOWLEDGED, steps=(*alert.steps, seen))


def _of_one_incident(
    tx: MonitorTx, project: str, error_class: str, causes: Sequence[str]
) -> Sequence[Alert]:
    """The alerts of the incident that failures with these causes belong to, oldest first."""
    recent = [
        each
        for each in tx.job_alerts_since(tx.now - QUIET)
        if each.error_class == error_class and parent_of(each.meta.name) == project
    ]
    related = [each for each in recent if set(each.causes) & set(causes)]
    return [each for each in recent if related and each.incident == related[0].incident]


def _go_on(tx: MonitorTx, alert: Alert, failure: JobFailure) -> None:
    assert alert.trouble is not None
    again = replace(alert, trouble=alert.trouble.failed_again(failure))
    rule = rule_of(failure.error_class)
    if alert.severity is Severity.TICKET and rule.severity(failure, 1) is Severity.PAGE:
        save_alert(tx, again.paging(failure.message, failure.time, tx.now))
    else:
        save_quietly(tx, again)


def _settled(tx: MonitorTx) -> list[tuple[Alert, str]]:
    """The alerts to end, each with why."""
    recent = tx.now - QUIET
    alerts = [
        (alert, alert.trouble) for alert in tx.job_alerts_since(recent) if alert.trouble is not None
    ]
    loud = {alert.incident for alert, trouble in alerts if trouble.last_time > recent}
    return [
        (alert, trouble.recovery)
        for alert, trouble in alerts
        if alert.state is not AlertState.RESOLVED
        and trouble.recovered_time is not None
        and trouble.recovered_time <= recent
        and alert.incident not in loud
    ]
