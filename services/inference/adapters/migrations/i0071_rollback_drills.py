"""Drills of roll-backs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "i0071"
down_revision = "i0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "rollback_drill", *resource_columns(sa.Column("state", sa.String(16), nullable=False))
    )
    op.create_index("ix_rollback_drill_parent", "rollback_drill", ["parent", "seq"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("rollback_drill")
