"""One Delta table that is only ever appended to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import structlog
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from services.common.errors import Unavailable

log = structlog.get_logger()

APP_ID: Final = "roundhouse-monitor"
"""Whose transaction numbers tell whether a commit that seemed to fail went through."""

_TRIES: Final = 8
_FIRST_WAIT_S: Final = 0.05


class LogUnavailable(Unavailable):
    """The store of the prediction log takes no writes at present."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__(
            "The prediction log can't be written at present; nothing was acknowledged.",
            dependency="prediction log",
        )


class DeltaLogTable:
    """Blocking; one thread at a time.

    Args:
        url: `file:///folder` or `s3://bucket/prefix`.
        storage_options: Of the object store; empty for a folder.
    """

    def __init__(self, url: str, storage_options: Mapping[str, str]) -> None:
        self._url = url
        self._options = dict(storage_options)
        self._folder = Path(url.removeprefix("file://")) if url.startswith("file://") else None
        self._table = self._open()

    @property
    def position(self) -> int:
        """Position of the newest batch in the table; 0 if it is empty."""
        if self._table is None:
            return 0
        return self._table.transaction_version(APP_ID) or 0

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """The table's columns."""
        if self._table is None:
            return {}
        schema = pa.schema(self._table.schema())
        return {field.name: field.type for field in schema}

    def append(self, rows: pa.Table, position: int) -> None:
        """Add rows in one commit; durable on return, and added once however often it is tried.

        Args:
            rows: New columns are added to the table; absent ones are null.
            position: Of the newest batch in `rows`; higher than that of any commit before.

        Raises:
            LogUnavailable: The store did not take them.
        """
        wait_s = _FIRST_WAIT_S
        for tried in range(1, _TRIES + 1):
            try:
                self._commit(rows, position)
            except (DeltaError, OSError) as error:
                log.warning("prediction_log.retry", tried=tried, error=str(error))
                if tried == _TRIES:
                    raise LogUnavailable from error
                time.sleep(wait_s)
                wait_s *= 2
            else:
                return

    def read(
        self, columns: Sequence[str] | None = None, where: ds.Expression | None = None
    ) -> pa.Table | None:
        """The rows that match, in no order; None while the table does not exist."""
        if self._table is None:
            return None
        found: pa.Table = self._table.to_pyarrow_dataset().to_table(columns=columns, filter=where)
        return found

    def compact(self) -> None:
        """Merge small files, so that reads stay fast. Rows and versions stay as they are."""
        if self._table is not None:
            self._table.optimize.compact()

    def _commit(self, rows: pa.Table, position: int) -> None:
        if self._went_through(position):
            return
        write_deltalake(
            self._url if self._table is None else self._table,
            rows,
            mode="append",
            schema_mode="merge",
            storage_options=self._options or None,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(APP_ID, position)], max_commit_retries=15
            ),
        )
        if self._table is None:
            self._table = self._open()
        if self._folder is not None and self._table is not None:
            _sync(self._folder, self._table.version())

    def _went_through(self, position: int) -> bool:
        if self._table is None:
            self._table = self._open()
        else:
            self._table.update_incremental()
        return self.position >= position

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(self._url, storage_options=self._options or None)
        except TableNotFoundError:
            return None


def _sync(folder: Path, version: int) -> None:
    """Force a commit's files to the disk: the Delta writer leaves that to the system."""
    entry = folder / "_delta_log" / f"{version:020d}.json"
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    added = [folder / action["add"]["path"] for action in actions if "add" in action]
    for path in (*added, entry, entry.parent, folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
