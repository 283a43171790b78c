"""What each judged window gave to decide on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "m0004"
down_revision = "m0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of judgements."""
    op.create_table(
        "judgement", *resource_columns(sa.Column("event_time", UtcDateTime, nullable=False))
    )
    op.create_index("ix_judgement_parent", "judgement", ["parent", "seq"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("judgement")
