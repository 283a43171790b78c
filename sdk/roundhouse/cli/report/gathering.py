"""Asks the services for what a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from roundhouse.cli import names
from roundhouse.cli.paging import every
from roundhouse.cli.report.periods import Period
from roundhouse.client import Client
from roundhouse.client.errors import FailedPrecondition, NotFound
from roundhouse.monitor.v1.alert_pb2 import Alert
from roundhouse.monitor.v1.alert_service_pb2 import ListAlertsRequest
from roundhouse.monitor.v1.judgement_service_pb2 import Cause, ExplainServingRequest
from roundhouse.monitor.v1.monitor_pb2 import (
    DriftReport,
    Episode,
    Monitor,
    PerformanceReport,
    RetrainDecision,
)
from roundhouse.monitor.v1.monitor_service_pb2 import (
    GetMonitorRequest,
    ListDriftReportsRequest,
    ListMonitorsRequest,
    ListPerformanceReportsRequest,
)
from roundhouse.monitor.v1.retrain_service_pb2 import GetEpisodeRequest, ListRetrainDecisionsRequest
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo
from roundhouse.monitor.v1.slo_service_pb2 import GetErrorBudgetRequest, ListSlosRequest
from roundhouse.trainer.v1.cost_service_pb2 import QueryCostsRequest, QueryCostsResponse
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.job_service_pb2 import ListTrainingJobsRequest


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one monitor.

    Attributes:
        serving: What serves now, and why; a sentence where it can't be told.
        decisions: Of the period, each with the episode that it started.
        budgets: Each objective with its budget at the period's end, or a sentence why there is
            none.
        alerts: Those that were unresolved at some time of the period, newest first.
    """

    monitor: Monitor
    serving: Cause | str
    drift: Sequence[DriftReport]
    quality: Sequence[PerformanceReport]
    decisions: Sequence[tuple[RetrainDecision, Episode | None]]
    budgets: Sequence[tuple[Slo, ErrorBudget | str]]
    alerts: Sequence[Alert]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the services say of a period.

    Attributes:
        now: When they were asked.
        jobs: Those that ended in the period.
        costs: Of the period, by model.
        alerts: About training jobs, unresolved at some time of the period, newest first.
    """

    project: str
    now: datetime
    watched: Sequence[Watched]
    jobs: Sequence[TrainingJob]
    costs: QueryCostsResponse
    alerts: Sequence[Alert]


def gather(
    client: Client, project: str, monitors: Sequence[str], period: Period, now: datetime
) -> Gathered:
    """What the services say.

    Args:
        client: To the monitor and the trainer.
        project: Its id.
        monitors: By resource name; empty means all of the project.
        period: What belongs to it.
        now: The moment.

    Raises:
        NotFound: There is no such monitor.
        Unavailable: A service is away.
    """
    parent = names.parent(project)
    if monitors:
        found = [client.monitors.GetMonitor(GetMonitorRequest(name=name)) for name in monitors]
    else:
        request = ListMonitorsRequest(parent=parent)
        found = list(every(client.monitors.ListMonitors, request, "monitors"))
    return Gathered(
        project,
        now,
        [_watched(client, monitor, period) for monitor in found],
        _jobs(client, parent, period),
        client.costs.QueryCosts(
            QueryCostsRequest(
                parent=parent,
                group_by=QueryCostsRequest.GROUP_BY_MODEL,
                start_time=_stamp(period.start),
                end_time=_stamp(period.end),
            )
        ),
        [alert for alert in _alerts(client, parent, period) if alert.HasField("trouble")],
    )


def moment(timestamp: Timestamp) -> datetime:
    """The instant in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)


def _watched(client: Client, monitor: Monitor, period: Period) -> Watched:
    name = monitor.name
    ends = _between("window_end_time", period)
    drift = ListDriftReportsRequest(parent=name, order_by="window_end_time", filter=ends)
    quality = ListPerformanceReportsRequest(
        parent=name, order_by="window_end_time", filter=f'{ends} AND version = ""'
    )
    return Watched(
        monitor,
        _serving(client, monitor.endpoint),
        list(every(client.monitors.ListDriftReports, drift, "drift_reports")),
        list(every(client.monitors.ListPerformanceReports, quality, "performance_reports")),
        _decisions(client, name, period),
        [
            (slo, _budget(client, slo, period))
            for slo in every(client.slos.ListSlos, ListSlosRequest(parent=name), "slos")
        ],
        _alerts(client, name, period),
    )


def _serving(client: Client, endpoint: str) -> Cause | str:
    try:
        return client.judgements.ExplainServing(ExplainServingRequest(endpoint=endpoint)).root
    except NotFound as error:
        return str(error)


def _decisions(
    client: Client, monitor: str, period: Period
) -> list[tuple[RetrainDecision, Episode | None]]:
    request = ListRetrainDecisionsRequest(parent=monitor, filter=_between("event_time", period))
    decisions = list(every(client.retraining.ListRetrainDecisions, request, "retrain_decisions"))
    return [
        (
            each,
            client.retraining.GetEpisode(GetEpisodeRequest(name=each.episode))
            if each.episode
            else None,
        )
        for each in reversed(decisions)
    ]


def _budget(client: Client, slo: Slo, period: Period) -> ErrorBudget | str:
    request = GetErrorBudgetRequest(name=slo.name, end_time=_stamp(period.end))
    try:
        return client.slos.GetErrorBudget(request)
    except FailedPrecondition as error:
        return str(error)


def _alerts(client: Client, parent: str, period: Period) -> list[Alert]:
    request = ListAlertsRequest(parent=parent, filter=f'create_time < "{_text(period.end)}"')
    return [
        alert
        for alert in every(client.alerts.ListAlerts, request, "alerts")
        if alert.state != Alert.STATE_RESOLVED or moment(alert.update_time) >= period.start
    ]


def _jobs(client: Client, parent: str, period: Period) -> list[TrainingJob]:
    ended = "state = SUCCEEDED OR state = FAILED OR state = CANCELLED OR state = BUDGET_EXCEEDED"
    request = ListTrainingJobsRequest(
        parent=parent,
        filter=(
            f'({ended}) AND update_time >= "{_text(period.start)}"'
            f' AND update_time < "{_text(period.end)}"'
        ),
    )
    return list(every(client.jobs.ListTrainingJobs, request, "training_jobs"))


def _between(field: str, period: Period) -> str:
    """A filter for what ends, exclusively, in the period."""
    return f'{field} > "{_text(period.start)}" AND {field} <= "{_text(period.end)}"'


def _text(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _stamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
