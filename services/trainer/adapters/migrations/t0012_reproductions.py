"""Jobs that repeat others, and how they compare with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0012"
down_revision = "t0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of jobs from before, none repeats another."""
    with op.batch_alter_table("training_job") as table:
        table.add_column(sa.Column("reproduces", sa.String(256), nullable=False, server_default=""))
        table.add_column(
            sa.Column("reproduction", sa.JSON, nullable=False, server_default=sa.text("'{}'"))
        )
    with op.batch_alter_table("training_job") as table:
        table.alter_column("reproduces", server_default=None)
        table.alter_column("reproduction", server_default=None)
