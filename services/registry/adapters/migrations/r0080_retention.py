"""Pins, holds, collection plans, and who relies on which stored content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from services.common.store.types import SequenceNumber, UtcDateTime

revision = "r0080"
down_revision = "r0091"
branch_labels = None
depends_on = None

_NAME = sa.String(512)
_DIGEST = sa.String(71)


def upgrade() -> None:
    """Create the tables and note what present versions and snapshots rely on."""
    _create_resource(
        "pin",
        sa.Column("target", _NAME, nullable=False, index=True),
        sa.Column("holder", _NAME, nullable=False),
    )
    _create_resource(
        "hold",
        sa.Column("target", _NAME, nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
    )
    _create_resource(
        "collection_plan", sa.Column("progress", sa.String(16), nullable=False, index=True)
    )
    op.create_table(
        "collection_item",
        sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        sa.Column("plan", _NAME, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.String(2048), nullable=False),
        sa.Column("handle", sa.String(1024), nullable=False),
        sa.Column("root_kind", sa.String(16), nullable=False),
        sa.Column("root", _NAME, nullable=False),
        sa.Column("settle_time", UtcDateTime),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_collection_item_position", "collection_item", ["plan", "position"], unique=True
    )
    op.create_index("ix_collection_item_state", "collection_item", ["plan", "state", "position"])
    _create_ledger()
    op.create_index("ix_upload_digest", "upload", ["digest"])
    _note_references()


def _create_resource(name: str, *columns: sa.Column[Any]) -> None:
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


def _create_ledger() -> None:
    op.create_table(
        "blob_reference",
        sa.Column("owner", _NAME, primary_key=True),
        sa.Column("digest", _DIGEST, primary_key=True, index=True),
    )
    op.create_table(
        "blob_claim",
        sa.Column("uid", sa.String(36), primary_key=True),
        sa.Column("digest", _DIGEST, nullable=False, index=True),
        sa.Column("holder", _NAME, nullable=False, index=True),
        sa.Column("expire_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "blob_sentence",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("plan", _NAME, nullable=False),
        sa.Column("uncertain_until", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )


def _note_references() -> None:
    connection = op.get_bind()
    references = sa.table("blob_reference", sa.column("owner"), sa.column("digest"))
    for kind in ("version", "snapshot"):
        resources = sa.table(
            kind, sa.column("name"), sa.column("digest"), sa.column("document", sa.JSON)
        )
        for row in connection.execute(sa.select(resources)):
            digests = _digests_of(row.document)
            if kind == "version" and row.digest:
                digests.add(row.digest)  # of its manifest
            if digests:
                connection.execute(
                    references.insert(),
                    [{"owner": row.name, "digest": digest} for digest in sorted(digests)],
                )


def _digests_of(document: Mapping[str, Any]) -> set[str]:
    files: Iterable[Mapping[str, Any]] = document.get("files", ())
    return {file["digest"] for file in files}


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("ix_upload_digest", "upload")
    for table in (
        *("blob_sentence", "blob_claim", "blob_reference"),
        *("collection_item", "collection_plan", "hold", "pin"),
    ):
        op.drop_table(table)
