"""Reports of shadow phases."""

from __future__ import annotations

from alembic import op

from services.common.store.documents import resource_columns

revision = "i0070"
down_revision = "i0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table("shadow_report", *resource_columns())
    op.create_index("ix_shadow_report_parent", "shadow_report", ["parent", "seq"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("shadow_report")
