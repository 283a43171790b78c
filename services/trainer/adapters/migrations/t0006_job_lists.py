"""Lists of many jobs by name and by state."""

from __future__ import annotations

from alembic import op

revision = "t0006"
down_revision = "t0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what lists are ordered and filtered by."""
    op.create_index("ix_training_job_name", "training_job", ["project", "name"])
    op.create_index("ix_training_job_listed", "training_job", ["project", "state", "create_time"])
