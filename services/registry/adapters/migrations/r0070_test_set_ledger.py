"""The ledger of test sets, and what each evaluation was for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "r0070"
down_revision = "r0090"
branch_labels = None
depends_on = None

_NAME = sa.String(512)
_DIGEST = sa.String(71)


def upgrade() -> None:
    """Create the ledger; evaluations so far were made to test."""
    with op.batch_alter_table("evaluation") as evaluation:
        evaluation.add_column(
            sa.Column("purpose", sa.String(16), nullable=False, server_default="TEST")
        )
    with op.batch_alter_table("evaluation") as evaluation:
        evaluation.alter_column("purpose", server_default=None)
    op.create_table(
        "test_set_touch",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("snapshot", _NAME, nullable=False),
        sa.Column("data_digest", _DIGEST, nullable=False),
        sa.Column("split", sa.String(64), nullable=False),
        sa.Column("split_digest", _DIGEST, nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("training_job", _NAME, nullable=False),
        sa.Column("lineage", sa.JSON, nullable=False),
        sa.Column("evaluation", _NAME, nullable=False),
        sa.Column("evaluator", _NAME, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_test_set_touch_rows", "test_set_touch", ["data_digest", "split_digest", "seq"]
    )
    op.create_index("ix_test_set_touch_project", "test_set_touch", ["project", "seq"])


def downgrade() -> None:
    """Drop the ledger."""
    op.drop_table("test_set_touch")
    with op.batch_alter_table("evaluation") as evaluation:
        evaluation.drop_column("purpose")
