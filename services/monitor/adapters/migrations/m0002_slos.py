"""Objectives."""

from __future__ import annotations

from alembic import op

from services.common.store.documents import resource_columns

revision = "m0002"
down_revision = "m0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of objectives."""
    op.create_table("slo", *resource_columns())
    op.create_index("ix_slo_parent", "slo", ["parent", "seq"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("slo")
