"""Datasets, models, evidence and lineage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "r0001"
down_revision = None
branch_labels = ("registry",)
depends_on = None

_NAME = sa.String(512)
_DIGEST = sa.String(71)
_RESOURCES = (
    "dataset",
    "snapshot",
    "model",
    "version",
    "alias",
    "evaluation",
    "gate_result",
    "approval",
)


def upgrade() -> None:
    """Create the registry's tables."""
    _create_resource("dataset")
    _create_resource(
        "snapshot",
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("digest", _DIGEST, nullable=False, index=True),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
    )
    _create_resource(
        "model", sa.Column("version_count", sa.Integer, nullable=False, server_default="0")
    )
    _create_resource(
        "version",
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("digest", _DIGEST, nullable=False, index=True),
        sa.Column("training_job", _NAME, nullable=False),
    )
    _create_resource("alias")
    _create_resource(
        "evaluation",
        sa.Column("snapshot", _NAME, nullable=False),
        sa.Column("split", sa.String(64), nullable=False),
        sa.Column("split_digest", _DIGEST, nullable=False),
    )
    _create_resource(
        "gate_result",
        sa.Column("evaluation", _NAME, nullable=False),
        sa.Column("passed", sa.Integer, nullable=False),
    )
    _create_resource(
        "approval",
        sa.Column("model", _NAME, nullable=False, index=True),
        sa.Column("decided", sa.String(16), nullable=False),
        sa.Column("requester", sa.String(256), nullable=False),
        sa.Column("approver", sa.String(256), nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "upload",
        sa.Column("version", _NAME, primary_key=True),
        sa.Column("path", sa.String(256), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", _DIGEST, nullable=False),
    )
    _create_journals()


def _create_resource(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("name", _NAME, nullable=False, unique=True),
        sa.Column("parent", _NAME, nullable=False),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        *columns,
        sa.Column("document", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_parent", name, ["parent", "seq"])


def _create_journals() -> None:
    op.create_table(
        "alias_move",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("model", _NAME, nullable=False),
        sa.Column("alias", _NAME, nullable=False),
        sa.Column("from_version", _NAME, nullable=False),
        sa.Column("to_version", _NAME, nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(1024), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("approval", _NAME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alias_move_model", "alias_move", ["model", "seq"])
    op.create_table(
        "lineage_edge",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("source", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("relation", sa.String(16), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lineage_edge_source", "lineage_edge", ["source", "target", "relation"])
    op.create_index("ix_lineage_edge_target", "lineage_edge", ["target"])


def downgrade() -> None:
    """Drop the registry's tables."""
    for table in ("lineage_edge", "alias_move", "upload", *reversed(_RESOURCES)):
        op.drop_table(table)
