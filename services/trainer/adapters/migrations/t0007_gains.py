"""What trials have over the trivial baseline."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0007"
down_revision = "t0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of trials from before nothing is known."""
    with op.batch_alter_table("trial") as table:
        table.add_column(
            sa.Column("gains", sa.JSON, nullable=False, server_default=sa.text("'{}'"))
        )
    with op.batch_alter_table("trial") as table:
        table.alter_column("gains", server_default=None)
