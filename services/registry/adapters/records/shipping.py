"""Carries the journal into the blob store."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import Connection, bindparam, select

from services.common.blobs.digests import digest_of, once
from services.common.blobs.errors import BlobExists
from services.common.blobs.port import BlobStore
from services.common.store.database import Database
from services.registry.adapters.database.journal import KINDS, everything
from services.registry.adapters.database.tables import JOURNAL, JOURNAL_HEAD
from services.registry.adapters.records.format import Transaction, read_record, write_record
from services.registry.core.storage_layout import record_key

_TRANSACTIONS_PER_RECORD: Final = 256
_SHIPPED_ROWS_KEPT: Final = 200
"""Rows that already stand in the store, before a write of their own removes them."""


_NEXT: Final = (
    select(JOURNAL)
    .where(JOURNAL.c.seq > bindparam("shipped"))
    .order_by(JOURNAL.c.seq)
    .limit(_TRANSACTIONS_PER_RECORD)
)


class DatabaseBehindRecords(Exception):
    """The database lacks transactions that the bucket has: it is new, or an old copy."""

    def __init__(self, head: int) -> None:
        super().__init__(
            f"The blob store has records after number {head}, where the database ends: numbers "
            "would be given twice. Rebuild it: roundhouse-registry rebuild --database URL."
        )


class RecordsDiverged(Exception):
    """Another database writes its records into the same place."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"Record {number} in the blob store is of another database: give each its own place."
        )


class RecordShipper:
    """Implements `Recorder`: callers that wait at once share one object.

    Args:
        database: That has the journal.
        blobs: Where records are kept.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._turn = asyncio.Lock()
        self._shipped = 0
        self._removed = 0

    async def start(self) -> None:
        """Make sure that database and records belong together, and ship what a crash left.

        Raises:
            DatabaseBehindRecords: The database lacks what the records have.
        """
        head = await self._database.read(_head)
        while await self._blobs.exists(record_key(head + 1)):
            # Another replica may just have gone on.
            before, head = head, await self._database.read(_head)
            if head == before:
                raise DatabaseBehindRecords(head)
        if head == 0:
            await self._database.write(_begin)
        await self.ship()

    async def ship(self, number: int | None = None) -> None:
        """See `Recorder`."""
        async with self._turn:
            # Whoever waited for the turn mostly finds its record written by the one before.
            while number is None or self._shipped < number:
                found = await self._database.read(self._next)
                if not found:
                    break
                await self._write(found)
            if self._shipped - self._removed > _SHIPPED_ROWS_KEPT:
                await self._database.write(self._remove_shipped)

    async def _write(self, found: list[Transaction]) -> None:
        first = found[0].sequence
        data = write_record(found)
        try:
            await self._blobs.create(record_key(first), once(data), digest=digest_of(data))
        except BlobExists:
            found = await self._already_written(found)
        self._shipped = found[-1].sequence

    async def _already_written(self, found: list[Transaction]) -> list[Transaction]:
        """The record that another replica, or this one before it was told so, has written."""
        first = found[0].sequence
        data = (await self._blobs.load(record_key(first))).data
        written = read_record(data, first=first)
        shared = min(len(written), len(found))
        if write_record(written[:shared]) != write_record(found[:shared]):
            raise RecordsDiverged(first)
        return written

    def _next(self, connection: Connection) -> list[Transaction]:
        rows = connection.execute(_NEXT, {"shipped": self._shipped})
        return [Transaction(row.seq, **row.changes) for row in rows]

    def _remove_shipped(self, connection: Connection) -> None:
        connection.execute(JOURNAL.delete().where(JOURNAL.c.seq <= self._shipped))
        self._removed = self._shipped


def _head(connection: Connection) -> int:
    head: int = connection.execute(select(JOURNAL_HEAD.c.seq)).scalar_one()
    return head


def _begin(connection: Connection) -> None:
    """Journal all that stands in a database that was filled before there were records."""
    is_new = not any(
        connection.execute(select(kind.table.c.seq).limit(1)).first() for kind in KINDS.values()
    )
    if is_new or _head(connection) != 0:
        return
    changes = {"time": "", "changes": everything(connection)}
    connection.execute(JOURNAL.insert().values(seq=1, changes=changes))
    connection.execute(JOURNAL_HEAD.update().values(seq=1))
