"""What each drift report comes to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "m0008"
down_revision = "m0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reports from before have none: they are read whole."""
    with op.batch_alter_table("drift_report") as table:
        table.add_column(sa.Column("summary", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("drift_report") as table:
        table.drop_column("summary")
