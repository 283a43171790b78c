"""Alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "m0003"
down_revision = "m0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of alerts."""
    op.create_table(
        "alert",
        *resource_columns(
            sa.Column("resource", sa.String(512), nullable=False),
            sa.Column("error_class", sa.String(32), nullable=False),
            sa.Column("severity", sa.String(16), nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("incident", sa.String(36), nullable=False),
        ),
    )
    op.create_index("ix_alert_parent", "alert", ["parent", "seq"])
    op.create_index("ix_alert_resource", "alert", ["resource"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("alert")
