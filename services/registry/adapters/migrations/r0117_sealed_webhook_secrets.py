"""Room for webhooks' secrets as they are sealed; the registry seals those that stand here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0117"
down_revision = "r0120"
branch_labels = None
depends_on = None

_COLUMNS = ("secret", "previous_secret")


def upgrade() -> None:
    """Widen the columns."""
    _resize(128, 512)


def downgrade() -> None:
    """Narrow them; what is sealed can't be used by the version before."""
    webhook = sa.table("webhook", *(sa.column(name, sa.String) for name in _COLUMNS))
    op.execute(webhook.update().values(dict.fromkeys(_COLUMNS, "")))
    _resize(512, 128)


def _resize(old: int, new: int) -> None:
    with op.batch_alter_table("webhook") as table:
        for name in _COLUMNS:
            table.alter_column(
                name,
                existing_type=sa.String(old),
                type_=sa.String(new),
                existing_nullable=False,
                existing_server_default="",
            )
