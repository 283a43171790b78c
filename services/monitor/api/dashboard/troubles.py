"""Incidents, failures and training jobs as the page gets them."""

from __future__ import annotations

from collections.abc import Sequence

from services.monitor.api.dashboard.documents import Document
from services.monitor.core.alerts.alerting import Alert
from services.monitor.core.alerts.failures import JobFailure
from services.monitor.core.alerts.incidents import Incident
from services.monitor.core.training import AttemptLine, JobLine, JobView


def of_incident(incident: Incident, alerts: Sequence[Alert]) -> Document:
    """One incident with some of its alerts."""
    return {
        "id": incident.id,
        "severity": incident.severity.value,
        "state": incident.state.value,
        "cause": incident.cause,
        "error_classes": list(incident.error_classes),
        "unresolved": incident.unresolved,
        "failures": incident.failures,
        "owners": list(incident.owners),
        "runbook": incident.runbook,
        "summary": incident.summary,
        "create_time": incident.create_time.isoformat(),
        "update_time": incident.update_time.isoformat(),
        "escalated_to": list(
            dict.fromkeys(receiver for alert in alerts for receiver in alert.receivers)
        ),
        "alerts": [_of_alert(alert) for alert in alerts],
    }


def _of_alert(alert: Alert) -> Document:
    trouble = alert.trouble
    return {
        "name": alert.meta.name,
        "resource": alert.resource,
        "error_class": alert.error_class,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "summary": alert.summary,
        "time": alert.meta.create_time.isoformat(),
        "steps": [
            {
                "action": step.action.value,
                "actor": step.actor,
                "reason": step.reason,
                "receiver": step.receiver,
                "time": step.time.isoformat(),
            }
            for step in alert.steps
        ],
        "failure": None if trouble is None else of_failure(trouble.failure),
        "log": [] if trouble is None else list(trouble.findings.log),
        "checkpoint": "" if trouble is None else trouble.findings.checkpoint,
    }


def of_failure(failure: JobFailure) -> Document:
    """One failed attempt."""
    return {
        "job": failure.job,
        "attempt": failure.attempt,
        "error_class": failure.error_class,
        "message": failure.message,
        "node": failure.node,
        "owner": failure.owner,
        "time": failure.time.isoformat(),
        "final": failure.is_final,
        "trace_id": failure.trace_id,
    }


def of_job(job: JobLine) -> Document:
    """One job in a list."""
    return {
        "name": job.name,
        "state": job.state,
        "model": job.model,
        "owner": job.owner,
        "priority": job.priority,
        "progress": job.progress,
        "attempts": job.attempts,
        "error_class": job.error_class,
        "message": job.message,
        "trace_id": job.trace_id,
        "create_time": job.create_time.isoformat(),
        "update_time": job.update_time.isoformat(),
    }


def of_view(view: JobView) -> Document:
    """One job with all that helps to understand it."""
    return {
        **of_job(view.job),
        "tries": [_of_attempt(attempt) for attempt in view.attempts],
        "curves": [
            {"trial": each.trial, "series": each.series, "points": [list(p) for p in each.points]}
            for each in view.curves
        ],
        "left_out": view.left_out,
        "checkpoints": [
            {
                "trial": each.trial,
                "step": each.step,
                "digest": each.digest,
                "size_bytes": each.size_bytes,
                "create_time": each.create_time.isoformat(),
            }
            for each in view.checkpoints
        ],
        "log": list(view.log),
    }


def _of_attempt(attempt: AttemptLine) -> Document:
    return {
        "number": attempt.number,
        "node": attempt.node,
        "state": attempt.state,
        "error_class": attempt.error_class,
        "message": attempt.message,
        "start": attempt.start.isoformat(),
        "end": attempt.end.isoformat() if attempt.end else None,
    }
