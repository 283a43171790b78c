"""Endpoints and rollouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "i0001"
down_revision = None
branch_labels = ("inference",)
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "endpoint",
        *resource_columns(sa.Column("endpoint_id", sa.String(63), nullable=False, unique=True)),
    )
    op.create_index("ix_endpoint_parent", "endpoint", ["parent", "seq"])
    op.create_table(
        "rollout",
        *resource_columns(
            sa.Column("state", sa.String(16), nullable=False, index=True),
            sa.Column("version", sa.String(512), nullable=False),
        ),
    )
    op.create_index("ix_rollout_parent", "rollout", ["parent", "seq"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("rollout")
    op.drop_table("endpoint")
