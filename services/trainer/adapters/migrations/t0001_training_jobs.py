"""Training jobs with all that they own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "t0001"
down_revision = None
branch_labels = ("trainer",)
depends_on = None


def upgrade() -> None:
    """Create the trainer's tables."""
    op.create_table(
        "training_job",
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("project", sa.String(128), nullable=False),
        sa.Column("uid", sa.String(36), nullable=False, unique=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("pause_requested", sa.Boolean, nullable=False),
        sa.Column("ready_time", UtcDateTime, nullable=False),
        sa.Column("model_version", sa.String(512), nullable=False),
        sa.Column("evaluation", sa.String(512), nullable=False),
        sa.Column("best_trial", sa.String(512), nullable=False),
        sa.Column("error_class", sa.String(32)),
        sa.Column("error_message", sa.Text),
        sa.Column("correlation_id", sa.String(128), nullable=False),
        sa.Column("submit_event", sa.String(64), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
    )
    op.create_index("ix_training_job_project", "training_job", ["project", "create_time"])
    op.create_index("ix_training_job_state", "training_job", ["state"])
    op.create_table(
        "attempt",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("worker", sa.String(256), nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("end_time", UtcDateTime),
        sa.Column("error_class", sa.String(32)),
        sa.Column("error_message", sa.Text),
        sa.Column("reported", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trial",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("algorithm", sa.String(64), nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("chosen_parameters", sa.JSON, nullable=False),
    )
    op.create_table(
        "metric_point",
        sa.Column("id", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("job_uid", sa.String(36), nullable=False),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("series", sa.String(128), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("job_uid", "trial", "series", "step", name="uq_metric_point_step"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_metric_point_job", "metric_point", ["job_uid", "id"])
    op.create_table(
        "log_line",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "cleanup",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("job", sa.String(256), nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("succeeded", sa.Boolean, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
