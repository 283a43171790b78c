"""The registry's tables.

A resource is a row of a few columns to find it by and one document with the rest.
`seq` counts rows in the order they were added.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, MetaData, String, Table

from services.common.store.documents import NAME_LENGTH, resource_table
from services.common.store.types import SequenceNumber, UtcDateTime

METADATA: Final = MetaData()


def _listed(
    table: Table, *orders: str, filters: tuple[str, ...] = (), within: str = "parent"
) -> Table:
    """The table with an index for each way it is listed, so that a page never needs a sort.

    Args:
        table: What is listed.
        *orders: What it may be ordered by, the default first.
        filters: What is often asked to be equal, in the default order.
        within: Names what the items are listed under.
    """
    columns = table.c
    for order in orders:
        Index(f"ix_{table.name}_by_{order}", columns[within], columns[order], columns.seq)
    for each in filters:
        leading = (columns[within], columns[each], columns[orders[0]])
        Index(f"ix_{table.name}_of_{each}", *leading, columns.seq)
    return table


DATASET: Final = _listed(resource_table("dataset", METADATA), "name", "create_time", "update_time")
SNAPSHOT: Final = _listed(
    resource_table(
        "snapshot",
        METADATA,
        Column("state", String(16), nullable=False),
        Column("digest", String(71), nullable=False, index=True),
        Column("start_time", UtcDateTime),
        Column("end_time", UtcDateTime),
    ),
    "create_time",
    "name",
    "update_time",
    filters=("state", "digest"),
)
MODEL: Final = _listed(
    resource_table(
        "model",
        METADATA,
        # Kept out of the document: it moves with each version and isn't a change of the model.
        Column("version_count", Integer, nullable=False, server_default="0"),
    ),
    "name",
    "create_time",
    "update_time",
)
VERSION: Final = _listed(
    resource_table(
        "version",
        METADATA,
        Column("state", String(16), nullable=False),
        Column("digest", String(71), nullable=False, index=True),
        Column("training_job", String(NAME_LENGTH), nullable=False),
    ),
    "create_time",
    "name",
    "update_time",
    filters=("state", "digest", "training_job"),
)
ALIAS: Final = _listed(
    resource_table(
        "alias", METADATA, Column("version", String(NAME_LENGTH), nullable=False, index=True)
    ),
    "name",
)
EVALUATION: Final = resource_table(
    "evaluation",
    METADATA,
    Column("snapshot", String(NAME_LENGTH), nullable=False),
    Column("split", String(64), nullable=False),
    Column("split_digest", String(71), nullable=False),
    Column("purpose", String(16), nullable=False),
)
GATE_RESULT: Final = resource_table(
    "gate_result",
    METADATA,
    Column("evaluation", String(NAME_LENGTH), nullable=False),
    Column("passed", Integer, nullable=False),
)
APPROVAL: Final = resource_table(
    "approval",
    METADATA,
    Column("model", String(NAME_LENGTH), nullable=False, index=True),
    Column("decided", String(16), nullable=False),
    Column("requester", String(256), nullable=False),
    Column("approver", String(256), nullable=False),
    Column("expire_time", UtcDateTime, nullable=False),
)
WEBHOOK: Final = resource_table(
    "webhook",
    METADATA,
    # Sealed, and kept out of the document: what reads webhooks must not come by their secrets.
    Column("secret", String(512), nullable=False, server_default=""),
    Column("previous_secret", String(512), nullable=False, server_default=""),
    Column("previous_until", UtcDateTime),
)

UPLOAD: Final = Table(
    "upload",
    METADATA,
    Column("version", String(NAME_LENGTH), primary_key=True),
    Column("path", String(256), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(71), nullable=False, index=True),
)

VERIFICATION: Final = Table(
    "verification",
    METADATA,
    Column("version", String(NAME_LENGTH), primary_key=True),
    Column("time", UtcDateTime, nullable=False, index=True),
)
"""Apart from the version: reading its bytes changes nothing about it."""

ALIAS_MOVE: Final = _listed(
    Table(
        "alias_move",
        METADATA,
        Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        Column("model", String(NAME_LENGTH), nullable=False),
        Column("alias", String(NAME_LENGTH), nullable=False),
        Column("from_version", String(NAME_LENGTH), nullable=False),
        Column("to_version", String(NAME_LENGTH), nullable=False),
        Column("actor", String(256), nullable=False),
        Column("reason", String(1024), nullable=False),
        Column("time", UtcDateTime, nullable=False),
        Column("approval", String(NAME_LENGTH), nullable=False),
        Index("ix_alias_move_model", "model", "seq"),
        sqlite_autoincrement=True,
    ),
    "time",
    filters=("alias",),
    within="model",
)

TOUCH: Final = Table(
    "test_set_touch",
    METADATA,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("project", String(NAME_LENGTH), nullable=False),
    Column("snapshot", String(NAME_LENGTH), nullable=False),
    Column("data_digest", String(71), nullable=False),
    Column("split", String(64), nullable=False),
    Column("split_digest", String(71), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("version", String(NAME_LENGTH), nullable=False),
    Column("training_job", String(NAME_LENGTH), nullable=False),
    Column("lineage", JSON, nullable=False),
    Column("evaluation", String(NAME_LENGTH), nullable=False),
    Column("evaluator", String(NAME_LENGTH), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Index("ix_test_set_touch_rows", "data_digest", "split_digest", "seq"),
    Index("ix_test_set_touch_project", "project", "seq"),
    sqlite_autoincrement=True,
)

EDGE: Final = Table(
    "lineage_edge",
    METADATA,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("source", String(NAME_LENGTH), nullable=False),
    Column("target", String(NAME_LENGTH), nullable=False),
    Column("relation", String(16), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Index("ix_lineage_edge_source", "source", "target", "relation"),
    Index("ix_lineage_edge_from", "source", "seq"),
    Index("ix_lineage_edge_to", "target", "seq"),
    sqlite_autoincrement=True,
)

WHEREABOUTS: Final = Table(
    "whereabouts",
    METADATA,
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version", String(NAME_LENGTH), nullable=False),
    Column("message", String(1024), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("time", UtcDateTime, nullable=False),
)

JOURNAL: Final = Table(
    "journal",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("changes", JSON, nullable=False),
)
"""What each transaction changed, until it stands in the blob store."""

JOURNAL_HEAD: Final = Table(
    "journal_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)
"""One row: the number of the last transaction. No sequence, since that would leave gaps."""
PIN: Final = resource_table(
    "pin",
    METADATA,
    Column("target", String(NAME_LENGTH), nullable=False, index=True),
    Column("holder", String(NAME_LENGTH), nullable=False),
)
HOLD: Final = resource_table(
    "hold",
    METADATA,
    Column("target", String(NAME_LENGTH), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
)
COLLECTION_PLAN: Final = resource_table(
    "collection_plan", METADATA, Column("progress", String(16), nullable=False, index=True)
)
COLLECTION_ITEM: Final = Table(
    "collection_item",
    METADATA,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("plan", String(NAME_LENGTH), nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", String(1024), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", String(2048), nullable=False),
    Column("handle", String(1024), nullable=False),
    Column("root_kind", String(16), nullable=False),
    Column("root", String(NAME_LENGTH), nullable=False),
    Column("settle_time", UtcDateTime),
    Index("ix_collection_item_position", "plan", "position", unique=True),
    Index("ix_collection_item_state", "plan", "state", "position"),
    sqlite_autoincrement=True,
)

BLOB_REFERENCE: Final = Table(
    "blob_reference",
    METADATA,
    Column("owner", String(NAME_LENGTH), primary_key=True),
    Column("digest", String(71), primary_key=True, index=True),
)
BLOB_CLAIM: Final = Table(
    "blob_claim",
    METADATA,
    Column("uid", String(36), primary_key=True),
    Column("digest", String(71), nullable=False, index=True),
    Column("holder", String(NAME_LENGTH), nullable=False, index=True),
    Column("expire_time", UtcDateTime, nullable=False),
)
BLOB_SENTENCE: Final = Table(
    "blob_sentence",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("plan", String(NAME_LENGTH), nullable=False),
    Column("uncertain_until", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
)
