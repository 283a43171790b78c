"""An index for each way that resources are listed, and one from versions to their aliases."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "r0120"
down_revision = "r0080"
branch_labels = None
depends_on = None

_ORDERS: Final = {
    "dataset": ("name", "create_time", "update_time"),
    "model": ("name", "create_time", "update_time"),
    "snapshot": ("create_time", "name", "update_time"),
    "version": ("create_time", "name", "update_time"),
    "alias": ("name",),
    "alias_move": ("time",),
}
_FILTERS: Final = {
    "snapshot": ("state", "digest"),
    "version": ("state", "digest", "training_job"),
    "alias_move": ("alias",),
}
_WITHIN: Final = {"alias_move": "model"}


def upgrade() -> None:
    """Add the column and the indexes."""
    op.add_column("alias", sa.Column("version", sa.String(512), nullable=False, server_default=""))
    alias = sa.table("alias", sa.column("version"), sa.column("document", sa.JSON))
    op.execute(alias.update().values(version=alias.c.document["version"].as_string()))
    op.create_index("ix_alias_version", "alias", ["version"])
    for table, orders in _ORDERS.items():
        within = _WITHIN.get(table, "parent")
        for order in orders:
            op.create_index(f"ix_{table}_by_{order}", table, [within, order, "seq"])
        for each in _FILTERS.get(table, ()):
            op.create_index(f"ix_{table}_of_{each}", table, [within, each, orders[0], "seq"])


def downgrade() -> None:
    """Drop them."""
    for table, orders in _ORDERS.items():
        for order in orders:
            op.drop_index(f"ix_{table}_by_{order}", table)
        for each in _FILTERS.get(table, ()):
            op.drop_index(f"ix_{table}_of_{each}", table)
    op.drop_index("ix_alias_version", "alias")
    op.drop_column("alias", "version")
