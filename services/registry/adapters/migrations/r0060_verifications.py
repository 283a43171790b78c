"""When versions were last verified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import UtcDateTime

revision = "r0060"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of verifications."""
    op.create_table(
        "verification",
        sa.Column("version", sa.String(512), primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False, index=True),
    )


def downgrade() -> None:
    """Drop the table of verifications."""
    op.drop_table("verification")
