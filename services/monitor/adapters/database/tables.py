"""The monitor's tables, as the newest migration leaves them."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import JSON, BigInteger, Boolean, Column, MetaData, String, Table

from services.common.store.documents import NAME_LENGTH, Kind, resource_table
from services.common.store.types import UtcDateTime
from services.monitor.core.alerts.alerting import Alert
from services.monitor.core.alerts.failures import NotedFailure
from services.monitor.core.evidence import Judgement
from services.monitor.core.heat import DriftSummary, summary_of
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainEvent,
    RetrainPolicy,
)
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.slos.restraints import Restraint

METADATA: Final = MetaData()

SUMMARIES: Final = TypeAdapter(DriftSummary)

SNAPSHOT_PIN: Final = Table(
    "snapshot_pin",
    METADATA,
    Column("request_id", String(36), primary_key=True),
    Column("log_position", BigInteger, nullable=False),
)

MONITORS: Final = Kind(
    resource_table(
        "monitor",
        METADATA,
        Column("endpoint", String(NAME_LENGTH), nullable=False, unique=True),
        Column("owner", String(256), nullable=False),
    ),
    Monitor,
    lambda monitor: {"endpoint": monitor.endpoint, "owner": monitor.owner},
)
POLICIES: Final = Kind(resource_table("retrain_policy", METADATA), RetrainPolicy)
DRIFT_REPORTS: Final = Kind(
    resource_table(
        "drift_report",
        METADATA,
        Column("baseline_version", String(NAME_LENGTH), nullable=False),
        Column("window_start_time", UtcDateTime, nullable=False),
        Column("window_end_time", UtcDateTime, nullable=False),
        Column("summary", JSON(none_as_null=True)),
    ),
    DriftReport,
    lambda report: {
        "summary": SUMMARIES.dump_python(summary_of(report), mode="json", exclude={"create_time"}),
        "baseline_version": report.baseline_version,
        "window_start_time": report.window_start,
        "window_end_time": report.window_end,
    },
)
PERFORMANCE_REPORTS: Final = Kind(
    resource_table(
        "performance_report",
        METADATA,
        Column("version", String(NAME_LENGTH), nullable=False),
        Column("window_start_time", UtcDateTime, nullable=False),
        Column("window_end_time", UtcDateTime, nullable=False),
        Column("outcomes", BigInteger, nullable=False),
    ),
    PerformanceReport,
    lambda report: {
        "version": report.version,
        "window_start_time": report.window_start,
        "window_end_time": report.window_end,
        "outcomes": report.outcomes,
    },
)
JUDGEMENTS: Final = Kind(
    resource_table(
        "judgement",
        METADATA,
        Column("event_time", UtcDateTime, nullable=False),
    ),
    Judgement,
    lambda judgement: {"event_time": judgement.event_time},
)
DECISIONS: Final = Kind(
    resource_table(
        "retrain_decision",
        METADATA,
        Column("kind", String(16), nullable=False),
        Column("reason", String(32), nullable=False),
        Column("policy", String(NAME_LENGTH), nullable=False),
        Column("event_time", UtcDateTime, nullable=False),
    ),
    RetrainDecision,
    lambda decision: {
        "kind": decision.kind.value,
        "reason": decision.reason,
        "policy": decision.policy,
        "event_time": decision.event_time,
    },
)
RETRAIN_EVENTS: Final = Kind(
    resource_table(
        "retrain_event",
        METADATA,
        Column("source", String(NAME_LENGTH), nullable=False),
        Column("event_time", UtcDateTime, nullable=False),
    ),
    RetrainEvent,
    lambda event: {"source": event.source, "event_time": event.event_time},
)
EPISODES: Final = Kind(
    resource_table("episode", METADATA, Column("state", String(32), nullable=False, index=True)),
    Episode,
    lambda episode: {"state": episode.state.value},
)
RESTRAINTS: Final = Kind(resource_table("restraint", METADATA), Restraint)
SLOS: Final = Kind(resource_table("slo", METADATA), Slo)
ALERTS: Final = Kind(
    resource_table(
        "alert",
        METADATA,
        Column("resource", String(NAME_LENGTH), nullable=False, index=True),
        Column("error_class", String(32), nullable=False),
        Column("severity", String(16), nullable=False),
        Column("state", String(16), nullable=False),
        Column("incident", String(36), nullable=False),
    ),
    Alert,
    lambda alert: {
        "resource": alert.resource,
        "error_class": alert.error_class,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "incident": alert.incident,
    },
)
JOB_FAILURES: Final = Kind(
    resource_table(
        "job_failure",
        METADATA,
        Column("job", String(NAME_LENGTH), nullable=False, index=True),
        Column("line", String(NAME_LENGTH), nullable=False, index=True),
        Column("error_class", String(32), nullable=False),
        Column("node", String(256), nullable=False, index=True),
        Column("time", UtcDateTime, nullable=False),
        Column("is_over", Boolean, nullable=False),
    ),
    NotedFailure,
    lambda noted: {
        "job": noted.failure.job,
        "line": noted.failure.line,
        "error_class": noted.failure.error_class,
        "node": noted.failure.node,
        "time": noted.failure.time,
        "is_over": noted.is_over,
    },
)
