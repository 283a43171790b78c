"""Versions of decision policies, and what endpoints were pointed at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "i0002"
down_revision = "i0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "policy_version",
        *resource_columns(
            sa.Column("project", sa.String(80), nullable=False, index=True),
            sa.Column("author", sa.String(128), nullable=False),
        ),
    )
    op.create_index("ix_policy_version_parent", "policy_version", ["parent", "seq"])
    op.create_table("policy_move", *resource_columns())
    op.create_index("ix_policy_move_parent", "policy_move", ["parent", "seq"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("policy_move")
    op.drop_table("policy_version")
