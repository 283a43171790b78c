"""Fills an empty database from the records in the blob store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from services.common.blobs.content import content_key
from services.common.blobs.digests import parse_digest
from services.common.blobs.errors import BlobNotFound
from services.common.blobs.port import BlobStore
from services.common.store.database import Database
from services.common.store.tables import EVENT
from services.registry.adapters.database.documents import SNAPSHOTS, VERSIONS
from services.registry.adapters.database.journal import KINDS, ROWS, apply
from services.registry.adapters.database.tables import JOURNAL_HEAD, SNAPSHOT, VERSION
from services.registry.adapters.records.format import Transaction, UnreadableRecord, read_record
from services.registry.core.storage_layout import RECORDS, record_key, sequence_of
from services.registry.core.versions import COMMITTED, VersionState

_READ_AT_ONCE: Final = 16


class DatabaseNotEmpty(Exception):
    """The database has rows that a rebuild would mix with the records."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"The database has rows in {table!r}; a rebuild fills an empty one and no other."
        )


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild gave.

    Attributes:
        transactions: How many were applied.
        restored: Rows by table.
        open_uploads: Versions whose files must be sent again.
        lost: A sentence for each thing that could not be restored.
    """

    transactions: int = 0
    restored: dict[str, int] = field(default_factory=dict)
    open_uploads: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


async def rebuild(database: Database, blobs: BlobStore) -> RebuildReport:
    """Restore what the records tell, in one transaction: all of it, or nothing yet.

    A record that is lost or damaged is reported; what later ones tell is restored all the
    same, since each tells whole resources.

    Args:
        database: Migrated, and empty.
        blobs: Where the registry kept its bytes and its records.

    Raises:
        DatabaseNotEmpty: It is left alone.
    """
    numbers, strangers = await _numbers(blobs)
    loop = asyncio.get_running_loop()

    def load(some: Sequence[int]) -> list[bytes]:
        return asyncio.run_coroutine_threadsafe(_load(blobs, some), loop).result()

    def fill(connection: Connection) -> RebuildReport:
        _need_empty(connection)
        report = RebuildReport(lost=[f"{key} is no record" for key in strangers])
        filling = _Filling(connection, report)
        for start in range(0, len(numbers), _READ_AT_ONCE):
            some = numbers[start : start + _READ_AT_ONCE]
            for number, data in zip(some, load(some), strict=True):
                filling.add(number, data)
        filling.finish()
        return report

    report = await database.write(fill)
    report.lost += [fault async for fault in _missing_bytes(database, blobs)]
    return report


class _Filling:
    """Applies records in the order of their numbers.

    Args:
        connection: The one transaction.
        report: Gets what happened.
    """

    def __init__(self, connection: Connection, report: RebuildReport) -> None:
        self._connection = connection
        self._report = report
        self._last = 0

    def add(self, number: int, data: bytes) -> None:
        if number > self._last + 1:
            self._report.lost.append(f"records {self._last + 1} to {number - 1} are missing")
        try:
            transactions = read_record(data, first=number)
        except UnreadableRecord as error:
            self._report.lost.append(f"record {number} is damaged: {error}")
            self._last = max(self._last, number)
            return
        for transaction in transactions:
            if transaction.sequence > self._last:  # else another replica wrote it, too
                self._apply(transaction)
                self._last = transaction.sequence

    def _apply(self, transaction: Transaction) -> None:
        try:
            with self._connection.begin_nested():
                for change in transaction.changes:
                    apply(self._connection, change)
        except (SQLAlchemyError, ValidationError, KeyError, ValueError) as error:
            self._report.lost.append(f"transaction {transaction.sequence}: {error}")
        else:
            self._report.transactions += 1

    def finish(self) -> None:
        """Let new numbers follow the old ones, and count."""
        connection, report = self._connection, self._report
        connection.execute(JOURNAL_HEAD.update().values(seq=self._last))
        if connection.dialect.name == "postgresql":
            newest = connection.execute(select(func.max(EVENT.c.seq))).scalar_one()
            if newest is not None:
                statement = text("SELECT setval(pg_get_serial_sequence('event', 'seq'), :newest)")
                connection.execute(statement, {"newest": newest})
        for table in {**{name: kind.table for name, kind in KINDS.items()}, **ROWS}.values():
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            report.restored[table.name] = count
        open_versions = select(VERSION.c.name).where(
            VERSION.c.state == VersionState.UPLOADING.value
        )
        report.open_uploads += connection.execute(open_versions).scalars()


def _need_empty(connection: Connection) -> None:
    for table in (*(kind.table for kind in KINDS.values()), *ROWS.values()):
        if connection.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise DatabaseNotEmpty(table.name)
    if connection.execute(select(JOURNAL_HEAD.c.seq)).scalar_one():
        raise DatabaseNotEmpty(JOURNAL_HEAD.name)


async def _numbers(blobs: BlobStore) -> tuple[list[int], list[str]]:
    """The numbers that records stand under, in order, and keys that are no record's."""
    numbers, strangers = [], []
    for info in await blobs.list_blobs(RECORDS):
        try:
            numbers.append(sequence_of(info.key))
        except ValueError:
            strangers.append(info.key)
    return sorted(numbers), strangers


async def _load(blobs: BlobStore, numbers: Sequence[int]) -> list[bytes]:
    found = await asyncio.gather(*(blobs.load(record_key(number)) for number in numbers))
    return [each.data for each in found]


async def _missing_bytes(database: Database, blobs: BlobStore) -> AsyncIterator[str]:
    """A sentence for each restored file that the store doesn't hold in its full size."""
    for owner, path, digest, size_bytes in await database.read(_files):
        try:
            stored = (await blobs.head(content_key(parse_digest(digest)))).size_bytes
        except BlobNotFound:
            yield f"{owner}: the bytes of {path} are gone"
        else:
            if stored != size_bytes:
                yield f"{owner}: {path} has {stored} bytes of {size_bytes}"


def _files(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Owner, path, digest and size of every file that should be stored."""
    found = []
    states = [state.value for state in COMMITTED]
    for row in connection.execute(select(VERSION).where(VERSION.c.state.in_(states))):
        version = VERSIONS.from_row(row)
        found += [
            (version.meta.name, file.path, file.digest, file.size_bytes)
            for file in version.committed_files()
        ]
    for row in connection.execute(select(SNAPSHOT)):
        snapshot = SNAPSHOTS.from_row(row)
        if snapshot.collect_time is not None:
            continue
        found += [
            (snapshot.meta.name, file.path, file.digest, file.size_bytes) for file in snapshot.files
        ]
    return found
