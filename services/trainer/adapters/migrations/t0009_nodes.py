"""Which machine each attempt ran on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "t0009"
down_revision = "t0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of attempts from before, nobody noted it."""
    with op.batch_alter_table("attempt") as table:
        table.add_column(sa.Column("node", sa.String(256), nullable=False, server_default=""))
    with op.batch_alter_table("attempt") as table:
        table.alter_column("node", server_default=None)
