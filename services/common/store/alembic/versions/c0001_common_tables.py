"""Events, request ids and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "c0001"
down_revision = None
branch_labels = ("common",)
depends_on = None


def upgrade() -> None:
    """Create the common tables."""
    op.create_table(
        "event",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("correlation_id", sa.String(128), nullable=False),
        sa.Column("causation_id", sa.String(128), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_correlation", "event", ["correlation_id", "seq"])
    op.create_index("ix_event_subject", "event", ["subject", "seq"])
    op.create_table(
        "request",
        sa.Column("request_id", sa.String(36), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("ix_request_create_time", "request", ["create_time"])
    op.create_table(
        "lease",
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("holder", sa.String(256), nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop the common tables."""
    for table in ("lease", "request", "event"):
        op.drop_table(table)
