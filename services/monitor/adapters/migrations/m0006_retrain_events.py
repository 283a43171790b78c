"""What happened outside of the monitor, for policies to retrain on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "m0006"
down_revision = "m0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of events."""
    op.create_table(
        "retrain_event",
        *resource_columns(
            sa.Column("source", sa.String(512), nullable=False),
            sa.Column("event_time", UtcDateTime, nullable=False),
        ),
    )
    op.create_index("ix_retrain_event_parent", "retrain_event", ["parent", "seq"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("retrain_event")
