"""Trials that tuning chooses: which candidate each is of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0002"
down_revision = "t0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say of each trial which candidate it is of; until now there was one per candidate."""
    with op.batch_alter_table("trial") as table:
        table.add_column(sa.Column("candidate", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE trial SET candidate = position")
    with op.batch_alter_table("trial") as table:
        table.alter_column("candidate", server_default=None)
