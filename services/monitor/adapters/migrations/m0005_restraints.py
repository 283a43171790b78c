"""What budget policies have ordered."""

from __future__ import annotations

from alembic import op

from services.common.store.documents import resource_columns

revision = "m0005"
down_revision = "m0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of restraints."""
    op.create_table("restraint", *resource_columns())
    op.create_index("ix_restraint_parent", "restraint", ["parent", "seq"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("restraint")
