"""Batch prediction jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns

revision = "i0090"
down_revision = "i0071"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "batch_prediction_job",
        *resource_columns(
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("snapshot", sa.String(512), nullable=False),
            sa.Column("version", sa.String(512), nullable=False),
        ),
    )
    op.create_index("ix_batch_prediction_job_parent", "batch_prediction_job", ["parent", "seq"])
    op.create_index("ix_batch_prediction_job_state", "batch_prediction_job", ["state"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("batch_prediction_job")
