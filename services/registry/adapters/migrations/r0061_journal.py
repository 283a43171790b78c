"""The journal of changes that go into the blob store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0061"
down_revision = "r0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the journal, which begins at 0."""
    op.create_table(
        "journal",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("changes", sa.JSON, nullable=False),
    )
    head = op.create_table(
        "journal_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0}])


def downgrade() -> None:
    """Drop the journal."""
    op.drop_table("journal_head")
    op.drop_table("journal")
