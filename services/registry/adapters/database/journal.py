"""What a transaction changed, as JSON that can be applied to an empty database again.

A change is one of
    {"put": KIND, "meta": {...}, "document": {...}}    a resource as it stands after the change
    {"remove": KIND, "name": NAME}
    {"insert": TABLE, "row": {...}}
    {"update": TABLE, "where": {...}, "values": {...}}
    {"delete": TABLE, "where": {...}}
in the order in which they were made. `KINDS`, `ROWS` and `NOT_JOURNALED` name every table.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Connection, LargeBinary, Table, and_, select
from typing_extensions import override

from services.common.resources import Meta, Resource
from services.common.store.documents import Kind, SqlCollection
from services.common.store.tables import EVENT, REQUEST
from services.common.store.types import UtcDateTime
from services.registry.adapters.database.documents import (
    ALIASES,
    APPROVALS,
    DATASETS,
    EVALUATIONS,
    GATE_RESULTS,
    HOLDS,
    MODELS,
    PINS,
    SNAPSHOTS,
    VERSIONS,
)
from services.registry.adapters.database.references import forget_references, note_references
from services.registry.adapters.database.tables import (
    ALIAS_MOVE,
    BLOB_CLAIM,
    BLOB_REFERENCE,
    BLOB_SENTENCE,
    COLLECTION_ITEM,
    COLLECTION_PLAN,
    EDGE,
    JOURNAL,
    JOURNAL_HEAD,
    MODEL,
    TOUCH,
    UPLOAD,
    VERIFICATION,
    WEBHOOK,
    WHEREABOUTS,
)

ResourceT = TypeVar("ResourceT", bound=Resource)

Change: TypeAlias = Mapping[str, Any]
"""JSON; see the module."""

KINDS: Final[Mapping[str, Kind[Any]]] = {
    kind.table.name: kind
    for kind in (
        *(DATASETS, SNAPSHOTS, MODELS, VERSIONS),
        *(ALIASES, EVALUATIONS, GATE_RESULTS, APPROVALS),
        *(PINS, HOLDS),
    )
}
"""Kinds of resources, an owner before what it owns."""

_JOURNALS: Final = (EVENT, REQUEST, ALIAS_MOVE, EDGE, TOUCH, WHEREABOUTS, VERIFICATION)
ROWS: Final[Mapping[str, Table]] = {table.name: table for table in (*_JOURNALS, MODEL)}
"""Tables whose rows are journaled one by one; of models only the count of versions."""

NOT_JOURNALED: Final = {
    UPLOAD.name: "files of open uploads are sent again: what is stored is not stored twice",
    BLOB_REFERENCE.name: "follows from versions and snapshots, whose changes bring it along",
    BLOB_CLAIM.name: "the uploads that claim are over",
    BLOB_SENTENCE.name: "the collection that condemned is over",
    COLLECTION_PLAN.name: "a plan is made again",
    COLLECTION_ITEM.name: "a plan is made again",
    WEBHOOK.name: "its secrets must not lie beside the bytes: it is created again",
    JOURNAL.name: "it is the journal",
    JOURNAL_HEAD.name: "follows from the records",
    WEBHOOK.name: "their secrets leave the database for nobody: webhooks are created anew",
}
"""Tables that a rebuild leaves empty, and why."""

_META: Final = tuple(each.name for each in fields(Meta))
_ADAPTERS: Final = {name: TypeAdapter(kind.resource) for name, kind in KINDS.items()}


_TAKE_NUMBER: Final = (
    JOURNAL_HEAD.update().values(seq=JOURNAL_HEAD.c.seq + 1).returning(JOURNAL_HEAD.c.seq)
)
_WRITE: Final = JOURNAL.insert()


class Journal:
    """Collects the changes of one transaction and writes them down at its end.

    Args:
        connection: The transaction.
        now: When it happens.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._changes: list[Change] = []

    def put(self, kind: Kind[ResourceT], resource: ResourceT) -> None:
        """A resource was added or replaced."""
        self._changes.append(put_change(kind, resource))

    def remove(self, kind: Kind[ResourceT], name: str) -> None:
        """A resource was removed."""
        self._changes.append({"remove": kind.table.name, "name": name})

    def insert(self, table: Table, row: Mapping[str, object]) -> None:
        """A row was inserted."""
        self._changes.append({"insert": table.name, "row": _encoded(row)})

    def update(
        self, table: Table, where: Mapping[str, object], values: Mapping[str, object]
    ) -> None:
        """The rows that equal `where` got `values`."""
        change = {"update": table.name, "where": _encoded(where), "values": _encoded(values)}
        self._changes.append(change)

    def delete(self, table: Table, where: Mapping[str, object]) -> None:
        """The rows that equal `where` were deleted."""
        self._changes.append({"delete": table.name, "where": _encoded(where)})

    @property
    def is_empty(self) -> bool:
        """Whether nothing was changed yet."""
        return not self._changes

    def close(self) -> int:
        """Write the changes down under the next number and give it; 0 if there are none."""
        if self.is_empty:
            return 0
        number: int = self._connection.execute(_TAKE_NUMBER).scalar_one()
        changes = {"time": self._now.isoformat(), "changes": self._changes}
        self._connection.execute(_WRITE, {"seq": number, "changes": changes})
        self._changes = []
        return number


class JournaledCollection(SqlCollection[ResourceT]):
    """A collection whose changes are journaled.

    Args:
        connection: The transaction.
        kind: What is stored.
        journal: Of the transaction.
    """

    def __init__(self, connection: Connection, kind: Kind[ResourceT], journal: Journal) -> None:
        super().__init__(connection, kind)
        self._tables = connection
        self._journaled = kind
        self._journal = journal

    @override
    def add(self, resource: ResourceT) -> None:
        super().add(resource)
        self._journal.put(self._journaled, resource)
        note_references(self._tables, self._journaled.table.name, resource)

    @override
    def replace(self, resource: ResourceT) -> None:
        super().replace(resource)
        self._journal.put(self._journaled, resource)
        note_references(self._tables, self._journaled.table.name, resource)

    @override
    def remove(self, name: str) -> None:
        super().remove(name)
        self._journal.remove(self._journaled, name)
        forget_references(self._tables, self._journaled.table.name, name)


def put_change(kind: Kind[ResourceT], resource: ResourceT) -> Change:
    """The change that gives a resource as it stands."""
    row = kind.to_row(resource)
    meta = _encoded({name: row[name] for name in _META})
    return {"put": kind.table.name, "meta": meta, "document": row["document"]}


def apply(connection: Connection, change: Change) -> None:
    """Make a journaled change, whatever stands there already."""
    match change:
        case {"put": name, "meta": meta, "document": document}:
            kind = KINDS[name]
            resource = _ADAPTERS[name].validate_python({"meta": meta, **document})
            values = kind.to_row(resource)
            by_name = kind.table.c.name == values["name"]
            if not connection.execute(kind.table.update().where(by_name).values(values)).rowcount:
                connection.execute(kind.table.insert().values(values))
            note_references(connection, name, resource)
        case {"remove": kind_name, "name": name}:
            table = KINDS[kind_name].table
            connection.execute(table.delete().where(table.c.name == name))
            forget_references(connection, kind_name, name)
        case {"insert": name, "row": row}:
            connection.execute(ROWS[name].insert().values(_decoded(ROWS[name], row)))
        case {"update": name, "where": where, "values": values}:
            table = ROWS[name]
            connection.execute(
                table.update().where(_equals(table, where)).values(_decoded(table, values))
            )
        case {"delete": name, "where": where}:
            connection.execute(ROWS[name].delete().where(_equals(ROWS[name], where)))
        case _:
            raise ValueError(f"no change has the keys {sorted(change)}")


def everything(connection: Connection) -> Sequence[Change]:
    """Changes that give all that the database holds, for one that was never journaled."""
    changes: list[Change] = []
    for kind in KINDS.values():
        rows = connection.execute(select(kind.table).order_by(kind.table.c.seq))
        changes.extend(put_change(kind, kind.from_row(row)) for row in rows)
    for row in connection.execute(select(MODEL.c.name, MODEL.c.version_count)):
        change = {
            "update": MODEL.name,
            "where": {"name": row.name},
            "values": {"version_count": row.version_count},
        }
        changes.append(change)
    for table in _JOURNALS:
        found = connection.execute(select(table).order_by(*table.primary_key.columns))
        for mapping in found.mappings():
            kept = {key: value for key, value in mapping.items() if _is_kept(table, key)}
            changes.append({"insert": table.name, "row": _encoded(kept)})
    return changes


def _is_kept(table: Table, column: str) -> bool:
    """Events keep their place in the stream, which readers remember; other numbers are new."""
    return table is EVENT or column != "seq"


def _equals(table: Table, where: Mapping[str, Any]) -> Any:
    return and_(*(table.c[name] == value for name, value in _decoded(table, where).items()))


def _encoded(row: Mapping[str, object]) -> dict[str, Any]:
    return {name: _encoded_value(value) for name, value in row.items()}


def _encoded_value(value: object) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def _decoded(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decoded_value(table.c[name].type, value) for name, value in row.items()}


def _decoded_value(column_type: object, value: Any) -> Any:
    if isinstance(column_type, UtcDateTime):
        return None if value is None else datetime.fromisoformat(value)
    return base64.b64decode(value) if isinstance(column_type, LargeBinary) else value
