"""Which job goes first, and which is to make room; how good a checkpoint is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0004"
down_revision = "t0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs from before are all alike."""
    with op.batch_alter_table("training_job") as table:
        table.add_column(sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
        table.add_column(
            sa.Column("preempt_requested", sa.Boolean, nullable=False, server_default=sa.false())
        )
    op.add_column("checkpoint", sa.Column("loss", sa.Float))
    with op.batch_alter_table("training_job") as table:
        table.alter_column("priority", server_default=None)
        table.alter_column("preempt_requested", server_default=None)
