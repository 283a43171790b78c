"""Monitors, their reports, policies, decisions and episodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "m0001"
down_revision = None
branch_labels = ("monitor",)
depends_on = None

_NAME = sa.String(512)


def upgrade() -> None:
    """Create the monitor's tables."""
    _create_resource(
        "monitor",
        sa.Column("endpoint", _NAME, nullable=False, unique=True),
        sa.Column("owner", sa.String(256), nullable=False),
    )
    _create_resource("retrain_policy")
    _create_resource(
        "drift_report",
        sa.Column("baseline_version", _NAME, nullable=False),
        sa.Column("window_start_time", UtcDateTime, nullable=False),
        sa.Column("window_end_time", UtcDateTime, nullable=False),
    )
    _create_resource(
        "performance_report",
        sa.Column("version", _NAME, nullable=False),
        sa.Column("window_start_time", UtcDateTime, nullable=False),
        sa.Column("window_end_time", UtcDateTime, nullable=False),
        sa.Column("outcomes", sa.BigInteger, nullable=False),
    )
    _create_resource(
        "retrain_decision",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("policy", _NAME, nullable=False),
        sa.Column("event_time", UtcDateTime, nullable=False),
    )
    _create_resource("episode", sa.Column("state", sa.String(32), nullable=False))
    op.create_index("ix_episode_state", "episode", ["state"])
    op.create_table(
        "snapshot_pin",
        sa.Column("request_id", sa.String(36), primary_key=True),
        sa.Column("log_position", sa.BigInteger, nullable=False),
    )


def _create_resource(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(name, *resource_columns(*columns))
    op.create_index(f"ix_{name}_parent", name, ["parent", "seq"])


def downgrade() -> None:
    """Drop the monitor's tables."""
    for table in (
        "snapshot_pin",
        "episode",
        "retrain_decision",
        "performance_report",
        "drift_report",
        "retrain_policy",
        "monitor",
    ):
        op.drop_table(table)
