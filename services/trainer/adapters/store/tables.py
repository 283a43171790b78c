"""The trainer's tables, as the newest migration leaves them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from services.common.store.documents import Kind, resource_table
from services.common.store.labels import label_columns
from services.common.store.types import SequenceNumber, UtcDateTime
from services.trainer.core.freezes import Freeze
from services.trainer.core.queues import Queue

METADATA: Final = MetaData()

JOB: Final = Table(
    "training_job",
    METADATA,
    Column("name", String(256), primary_key=True),
    Column("project", String(128), nullable=False),
    Column("uid", String(36), nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("pause_requested", Boolean, nullable=False),
    Column("ready_time", UtcDateTime, nullable=False),
    Column("model_version", String(512), nullable=False),
    Column("evaluation", String(512), nullable=False),
    Column("best_trial", String(512), nullable=False),
    Column("error_class", String(32)),
    Column("error_message", Text),
    Column("correlation_id", String(128), nullable=False),
    Column("submit_event", String(64), nullable=False),
    Column("traceparent", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("model", String(512), nullable=False),
    Column("budget_micros", BigInteger),
    Column("estimate_micros", BigInteger, nullable=False),
    Column("budget_reached", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("preempt_requested", Boolean, nullable=False),
    Column("critical", Boolean, nullable=False),
    Column("queue", String(64), nullable=False),
    Column("reproduces", String(256), nullable=False),
    Column("reproduction", JSON, nullable=False),
    Index("ix_training_job_project", "project", "create_time"),
    Index("ix_training_job_state", "state"),
    Index("ix_training_job_name", "project", "name"),
    Index("ix_training_job_listed", "project", "state", "create_time"),
    Index("ix_training_job_model", "model", "state", "update_time"),
)

JOB_LABEL: Final = Table(
    "job_label",
    METADATA,
    *label_columns(
        Column("name", String(256), primary_key=True),
        Column("create_time", UtcDateTime, nullable=False),
    ),
    Index("ix_job_label_by_time", "parent", "label", "create_time", "name"),
    Index("ix_job_label_by_name", "parent", "label", "name"),
)

ATTEMPT: Final = Table(
    "attempt",
    METADATA,
    Column("job_uid", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker", String(256), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("start_time", UtcDateTime, nullable=False),
    Column("end_time", UtcDateTime),
    Column("error_class", String(32)),
    Column("error_message", Text),
    Column("reported", BigInteger, nullable=False),
    Column("rate_micros", BigInteger, nullable=False),
    Column("price_version", String(64), nullable=False),
    Column("charged_s", BigInteger, nullable=False),
    Column("granted_s", BigInteger, nullable=False),
    Column("node", String(256), nullable=False),
    Column("share", Float, nullable=False),
)

TRIAL: Final = Table(
    "trial",
    METADATA,
    Column("job_uid", String(36), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("algorithm", String(64), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("chosen_parameters", JSON, nullable=False),
    Column("candidate", Integer, nullable=False),
    Column("folds", JSON, nullable=False),
    Column("gains", JSON, nullable=False),
)

CHARGE: Final = Table(
    "charge",
    METADATA,
    # One entry for each attempt and tick, so that nothing is charged twice.
    Column("job_uid", String(36), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("tick", Integer, primary_key=True),
    Column("project", String(128), nullable=False),
    Column("job", String(256), nullable=False),
    Column("model", String(512), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("month", String(7), nullable=False),
    Column("start_time", UtcDateTime, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("price_version", String(64), nullable=False),
    Index("ix_charge_owner", "project", "owner", "month"),
)

OWNER_BUDGET: Final = Table(
    "owner_budget",
    METADATA,
    Column("project", String(128), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("monthly_micros", BigInteger, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
)

FREEZES: Final = Kind(resource_table("training_freeze", METADATA), Freeze)
QUEUES: Final = Kind(resource_table("training_queue", METADATA), Queue)

QUEUE_USAGE: Final = Table(
    "queue_usage",
    METADATA,
    Column("queue", String(256), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("time", UtcDateTime, nullable=False),
)

POINT: Final = Table(
    "metric_point",
    METADATA,
    # Grows with each write, so that a watcher sees what is new.
    Column("id", SequenceNumber, primary_key=True, autoincrement=True),
    Column("job_uid", String(36), nullable=False),
    Column("trial", String(64), nullable=False),
    Column("series", String(128), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Float, nullable=False),
    Column("time", UtcDateTime, nullable=False),
    UniqueConstraint("job_uid", "trial", "series", "step", name="uq_metric_point_step"),
    Index("ix_metric_point_job", "job_uid", "id"),
    sqlite_autoincrement=True,
)

LOG_LINE: Final = Table(
    "log_line",
    METADATA,
    Column("job_uid", String(36), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("text", Text, nullable=False),
)

CLEANUP: Final = Table(
    "cleanup",
    METADATA,
    Column("job_uid", String(36), primary_key=True),
    Column("job", String(256), nullable=False),
    Column("model", String(512), nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)

CHECKPOINT: Final = Table(
    "checkpoint",
    METADATA,
    Column("job_uid", String(36), primary_key=True),
    Column("trial", String(64), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("loss", Float),
    Column("create_time", UtcDateTime, nullable=False),
)
