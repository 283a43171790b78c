"""Webhooks, with their secrets in columns of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "r0091"
down_revision = "r0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "webhook",
        *resource_columns(
            sa.Column("secret", sa.String(128), nullable=False, server_default=""),
            sa.Column("previous_secret", sa.String(128), nullable=False, server_default=""),
            sa.Column("previous_until", UtcDateTime, nullable=True),
        ),
    )
    op.create_index("ix_webhook_parent", "webhook", ["parent", "seq"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("webhook")
