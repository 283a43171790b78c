"""Failures of training jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.documents import resource_columns
from services.common.store.types import UtcDateTime

revision = "m0007"
down_revision = "m0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of failures."""
    op.create_table(
        "job_failure",
        *resource_columns(
            sa.Column("job", sa.String(512), nullable=False),
            sa.Column("line", sa.String(512), nullable=False),
            sa.Column("error_class", sa.String(32), nullable=False),
            sa.Column("node", sa.String(256), nullable=False),
            sa.Column("time", UtcDateTime, nullable=False),
            sa.Column("is_over", sa.Boolean, nullable=False),
        ),
    )
    op.create_index("ix_job_failure_parent", "job_failure", ["parent", "seq"])
    for column in ("job", "line", "node"):
        op.create_index(f"ix_job_failure_{column}", "job_failure", [column])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("job_failure")
