"""Freezes, and which jobs they don't hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "t0008"
down_revision = "t0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No job from before is critical."""
    with op.batch_alter_table("training_job") as table:
        table.add_column(
            sa.Column("critical", sa.Boolean, nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("training_job") as table:
        table.alter_column("critical", server_default=None)
    op.create_table("training_freeze", *resource_columns())
    op.create_index("ix_training_freeze_parent", "training_freeze", ["parent", "seq"])
