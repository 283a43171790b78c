"""Where rollouts and endpoints stand; edges found in order from both ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import UtcDateTime

revision = "r0090"
down_revision = "r0060"
branch_labels = None
depends_on = None

_NAME = sa.String(512)


def upgrade() -> None:
    """Create the table and exchange the index."""
    op.create_table(
        "whereabouts",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("message", sa.String(1024), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
    )
    op.drop_index("ix_lineage_edge_target", "lineage_edge")
    op.create_index("ix_lineage_edge_from", "lineage_edge", ["source", "seq"])
    op.create_index("ix_lineage_edge_to", "lineage_edge", ["target", "seq"])


def downgrade() -> None:
    """Drop the table and put the index back."""
    op.drop_index("ix_lineage_edge_to", "lineage_edge")
    op.drop_index("ix_lineage_edge_from", "lineage_edge")
    op.create_index("ix_lineage_edge_target", "lineage_edge", ["target"])
    op.drop_table("whereabouts")
