"""Resources as rows: columns to find them by, and a document with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Index,
    Insert,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Update,
    bindparam,
    func,
    select,
)

from services.common.names import parent_of
from services.common.resources import ConcurrentChange, Page, PageQuery, Resource
from services.common.store.listing import Listing, ListQuery
from services.common.store.types import SequenceNumber, UtcDateTime

NAME_LENGTH: Final = 512

ResourceT = TypeVar("ResourceT", bound=Resource)
T = TypeVar("T")


def resource_table(name: str, metadata: MetaData, *columns: Column[Any]) -> Table:
    """A table of resources; `seq` counts rows in the order they were added.

    Args:
        name: Of the table.
        metadata: That it belongs to.
        *columns: What of a resource is also a column, to be filtered or ordered by.
    """
    return Table(name, metadata, *resource_columns(*columns), *_indexes(name))


def resource_columns(*columns: Column[Any]) -> list[Column[Any]]:
    """The columns of a table of resources, fresh ones each time; for migrations too."""
    return [
        Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
        Column("name", String(NAME_LENGTH), nullable=False, unique=True),
        Column("parent", String(NAME_LENGTH), nullable=False),
        Column("uid", String(36), nullable=False),
        Column("revision", Integer, nullable=False),
        Column("create_time", UtcDateTime, nullable=False),
        Column("update_time", UtcDateTime, nullable=False),
        Column("labels", JSON, nullable=False),
        *columns,
        Column("document", JSON, nullable=False),
    ]


def _indexes(name: str) -> list[Index]:
    return [Index(f"ix_{name}_parent", "parent", "seq")]


@dataclass(frozen=True, slots=True)
class Statements:
    """What is asked of one table of resources, made once.

    Making a statement costs three times as much as running it (60 us against 20).
    """

    get: Select[Any]
    whole: Select[Any]
    insert: Insert
    replace: Update
    remove: Delete
    count: Select[Any]
    under: Select[Any]
    newest: Select[Any]

    @classmethod
    def over(cls, table: Table) -> Statements:
        """The statements over `table`; names, keys, parents and revisions become parameters."""
        columns = table.c
        named = columns.name == bindparam("of_name")
        under = columns.parent == bindparam("of_parent")
        return cls(
            get=select(table).where(named),
            whole=select(table).where(columns.seq.in_(bindparam("of_seq", expanding=True))),
            insert=table.insert().inline(),
            replace=table.update().where(named, columns.revision == bindparam("of_revision")),
            remove=table.delete().where(named),
            count=select(func.count()).select_from(table).where(under),
            under=select(table).where(under).order_by(columns.seq),
            newest=select(table).where(under).order_by(columns.seq.desc()).limit(1),
        )


@dataclass(frozen=True, slots=True)
class Kind(Generic[ResourceT]):
    """How one kind of resource is stored.

    Attributes:
        table: Where.
        resource: Its class.
        columns: What of a resource is also a column.
        statements: What is asked of the table.
    """

    table: Table
    resource: type[ResourceT]
    columns: Callable[[ResourceT], Mapping[str, object]] = lambda _: {}
    statements: Statements = field(init=False)
    _documents: TypeAdapter[ResourceT] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statements", Statements.over(self.table))
        object.__setattr__(self, "_documents", TypeAdapter(self.resource))

    def to_row(self, resource: ResourceT) -> dict[str, object]:
        """The values of the resource's row, without `seq`."""
        meta = resource.meta
        return {
            "name": meta.name,
            "parent": parent_of(meta.name),
            "uid": meta.uid,
            "revision": meta.revision,
            "create_time": meta.create_time,
            "update_time": meta.update_time,
            "labels": dict(meta.labels),
            **self.columns(resource),
            "document": self._documents.dump_python(resource, mode="json", exclude={"meta"}),
        }

    def from_row(self, row: Row[Any]) -> ResourceT:
        """The resource that `to_row` stored."""
        meta = {
            "name": row.name,
            "uid": row.uid,
            "revision": row.revision,
            "create_time": row.create_time,
            "update_time": row.update_time,
            "labels": row.labels,
        }
        return self._documents.validate_python({"meta": meta, **row.document})

    def listing(self, *, filterable: Sequence[str], orderable: Sequence[str]) -> Listing:
        """How the kind is listed; the first of `orderable`, which may end in ` desc`, is default.

        Args:
            filterable: Columns that may be filtered by.
            orderable: Columns that may be ordered by, none of which may be null.
        """
        names = tuple(part.removesuffix(" desc") for part in orderable)
        fields = {name: self.table.c[name] for name in (*filterable, *names)}
        return Listing(fields, self.table.c.seq, default_order=orderable[0], orderable=names)


class SqlCollection(Generic[ResourceT]):
    """`Collection` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        kind: What is stored.
    """

    def __init__(self, connection: Connection, kind: Kind[ResourceT]) -> None:
        self._connection = connection
        self._kind = kind
        self._statements = kind.statements

    def get(self, name: str) -> ResourceT | None:
        """See `Collection`."""
        row = self._connection.execute(self._statements.get, {"of_name": name}).one_or_none()
        return None if row is None else self._kind.from_row(row)

    def add(self, resource: ResourceT) -> None:
        """See `Collection`."""
        self._connection.execute(self._statements.insert, self._kind.to_row(resource))

    def replace(self, resource: ResourceT) -> None:
        """See `Collection`."""
        meta = resource.meta
        before = {"of_name": meta.name, "of_revision": meta.revision - 1}
        changed = self._connection.execute(
            self._statements.replace, {**self._kind.to_row(resource), **before}
        )
        if changed.rowcount != 1:
            raise ConcurrentChange(meta.name)

    def remove(self, name: str) -> None:
        """See `Collection`."""
        self._connection.execute(self._statements.remove, {"of_name": name})

    def count(self, parent: str) -> int:
        """See `Collection`."""
        count: int = self._connection.execute(
            self._statements.count, {"of_parent": parent}
        ).scalar_one()
        return count

    def under(self, parent: str) -> Sequence[ResourceT]:
        """See `Collection`."""
        found = self._connection.execute(self._statements.under, {"of_parent": parent})
        return [self._kind.from_row(row) for row in found]

    def newest(self, parent: str) -> ResourceT | None:
        """See `Collection`."""
        row = self._connection.execute(self._statements.newest, {"of_parent": parent}).one_or_none()
        return None if row is None else self._kind.from_row(row)

    def where(self, rows: Select[Any]) -> Sequence[ResourceT]:
        """The resources that a selection of the table gives, oldest first."""
        found = self._connection.execute(rows.order_by(self._kind.table.c.seq))
        return [self._kind.from_row(row) for row in found]

    def ordered(self, rows: Select[Any]) -> Sequence[ResourceT]:
        """The resources that a selection of the table gives, in its order."""
        keys = self._connection.execute(rows.with_only_columns(self._kind.table.c.seq))
        return self._whole(keys.scalars().all())

    def page(
        self, listing: Listing, query: PageQuery, within: ColumnElement[bool] | None = None
    ) -> Page[ResourceT]:
        """One page of the resources directly under `query.parent`, or of those `within`."""
        asked = ListQuery(query.page_size, query.page_token, query.filter, query.order_by)
        table = self._kind.table
        orders = [listing.fields[name] for name in listing.orderable]
        keys = select(table.c.seq, *orders).where(
            table.c.parent == query.parent if within is None else within
        )
        page = listing.page(self._connection, keys, asked, scope=query.parent)
        return Page(self._whole([row.seq for row in page.rows]), page.next_page_token)

    def _whole(self, keys: Sequence[int]) -> tuple[ResourceT, ...]:
        # SQLite sorts rows with all that is selected of them: with the documents, it would read
        # those of the whole table for one page of it.
        found = self._connection.execute(self._statements.whole, {"of_seq": keys})
        rows = {row.seq: row for row in found}
        return tuple(self._kind.from_row(rows[key]) for key in keys)
