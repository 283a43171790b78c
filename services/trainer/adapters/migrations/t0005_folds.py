"""What trials scored on the folds of cross-validation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0005"
down_revision = "t0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Trials from before have no folds."""
    with op.batch_alter_table("trial") as table:
        table.add_column(
            sa.Column("folds", sa.JSON, nullable=False, server_default=sa.text("'[]'"))
        )
    with op.batch_alter_table("trial") as table:
        table.alter_column("folds", server_default=None)
