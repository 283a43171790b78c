"""Failures of training jobs, and incidents, to their protos."""

from __future__ import annotations

from roundhouse.monitor.v1 import alert_pb2, incident_pb2, slo_pb2
from roundhouse.monitor.v1 import job_failure_pb2 as pb

from services.common.rpc.convert import to_timestamp
from services.monitor.core.alerts.failures import Findings, JobFailure, Trouble
from services.monitor.core.alerts.incidents import Incident


def failure_to_proto(failure: JobFailure) -> pb.JobFailure:
    """One failed attempt."""
    return pb.JobFailure(
        name=failure.name,
        job=failure.job,
        line=failure.line,
        error_class=failure.error_class,
        message=failure.message,
        attempt=failure.attempt,
        worker=failure.worker,
        node=failure.node,
        time=to_timestamp(failure.time),
        owner=failure.owner,
        model=failure.model,
        snapshot=failure.snapshot,
        episode=failure.episode,
        trace_id=failure.trace_id,
        final=failure.is_final,
    )


def trouble_to_proto(trouble: Trouble) -> alert_pb2.Alert.Trouble:
    """The failures that an alert stands for."""
    recovered = trouble.recovered_time
    return alert_pb2.Alert.Trouble(
        failure=failure_to_proto(trouble.failure),
        evidence=_evidence(trouble.findings),
        causes=trouble.causes,
        failures=trouble.failures,
        last_failure_time=to_timestamp(trouble.last_time),
        recover_time=None if recovered is None else to_timestamp(recovered),
        sent=trouble.speaks,
    )


def incident_to_proto(incident: Incident) -> incident_pb2.Incident:
    """One incident as it stands."""
    return incident_pb2.Incident(
        id=incident.id,
        severity=slo_pb2.ErrorBudget.Severity.Value(f"SEVERITY_{incident.severity.value}"),
        state=alert_pb2.Alert.State.Value(f"STATE_{incident.state.value}"),
        cause=incident.cause,
        error_classes=incident.error_classes,
        alerts=incident.alerts,
        unresolved=incident.unresolved,
        failures=incident.failures,
        owners=incident.owners,
        runbook=incident.runbook,
        summary=incident.summary,
        create_time=to_timestamp(incident.create_time),
        update_time=to_timestamp(incident.update_time),
    )


def _evidence(findings: Findings) -> pb.FailureEvidence:
    return pb.FailureEvidence(
        log=findings.log,
        metrics=[
            pb.FailureEvidence.LastValue(
                trial=each.trial, series=each.series, step=each.step, value=each.value
            )
            for each in findings.metrics
        ],
        checkpoint=findings.checkpoint,
    )
