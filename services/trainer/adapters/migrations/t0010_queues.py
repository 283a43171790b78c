"""Queues, and what was taken in each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "t0010"
down_revision = "t0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs from before are in the default queue, and what they took is forgotten."""
    with op.batch_alter_table("training_job") as table:
        table.add_column(
            sa.Column("queue", sa.String(64), nullable=False, server_default="default")
        )
    with op.batch_alter_table("training_job") as table:
        table.alter_column("queue", server_default=None)
    with op.batch_alter_table("attempt") as table:
        table.add_column(sa.Column("share", sa.Float, nullable=False, server_default="0"))
    with op.batch_alter_table("attempt") as table:
        table.alter_column("share", server_default=None)
    op.create_table("training_queue", *resource_columns())
    op.create_index("ix_training_queue_parent", "training_queue", ["parent", "seq"])
    op.create_table(
        "queue_usage",
        sa.Column("queue", sa.String(256), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
    )
