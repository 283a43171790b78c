"""Alerts to their protos."""

from __future__ import annotations

from roundhouse.monitor.v1 import alert_pb2 as pb
from roundhouse.monitor.v1 import slo_pb2

from services.common.rpc.convert import to_timestamp
from services.monitor.api.convert.failures import trouble_to_proto
from services.monitor.core.alerts.alerting import Alert


def alert_to_proto(alert: Alert) -> pb.Alert:
    """The alert on the wire."""
    meta, until, trouble = alert.meta, alert.silenced_until, alert.trouble
    return pb.Alert(
        name=meta.name,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        resource=alert.resource,
        error_class=alert.error_class,
        severity=slo_pb2.ErrorBudget.Severity.Value(f"SEVERITY_{alert.severity.value}"),
        state=pb.Alert.State.Value(f"STATE_{alert.state.value}"),
        incident=alert.incident,
        summary=alert.summary,
        event_time=to_timestamp(alert.event_time),
        owner=alert.owner,
        runbook=alert.runbook,
        silenced_until=None if until is None else to_timestamp(until),
        steps=[
            pb.Alert.Step(
                action=step.action.value,
                actor=step.actor,
                reason=step.reason,
                time=to_timestamp(step.time),
                receiver=step.receiver,
            )
            for step in alert.steps
        ],
        trouble=None if trouble is None else trouble_to_proto(trouble),
    )
