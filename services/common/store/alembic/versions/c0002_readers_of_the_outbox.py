"""Readers of the outbox, and what became of the deliveries of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "c0002"
down_revision = "c0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "outbox_cursor",
        sa.Column("reader", sa.String(128), primary_key=True),
        sa.Column("cursor", sa.String(64), nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("subscription", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.BigInteger, nullable=False),
        sa.Column("event_type", sa.String(128), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("in_line", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("error", sa.String(512), nullable=False),
        sa.Column("next_time", UtcDateTime, nullable=True),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("subscription", "event_id", name="uq_webhook_delivery_event"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_webhook_delivery_state", "webhook_delivery", ["subscription", "state", "seq"]
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("webhook_delivery")
    op.drop_table("outbox_cursor")
