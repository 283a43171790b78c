"""The prediction log: a Delta table of predictions per endpoint, and one of all outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from services.monitor.adapters.log.table import DeltaLogTable
from services.monitor.core.names import ENDPOINT
from services.monitor.core.stream.batches import (
    SHADOW_SUFFIX,
    Batch,
    ObservationBatch,
    OutcomeBatch,
)
from services.monitor.core.windows import to_us

T = TypeVar("T")
BatchT = TypeVar("BatchT", ObservationBatch, OutcomeBatch)

POSITION: Final = "_position"
BATCH_ID: Final = "_batch_id"
ARRIVAL: Final = "_arrival_us"
ROW: Final = "_row"

BATCH_MEMORY: Final = timedelta(days=7)
"""How long a batch id is remembered: as long as request ids are."""

_COMPACT_AFTER_COMMITS: Final = 200
_EVENT_TIME: Final = pa.timestamp("us", tz="UTC")


class DeltaPredictionLog:
    """Implements `PredictionLog`, and is written by the group committer alone.

    Tables: `endpoints`, `observations/<project>.<endpoint>` and `outcomes`. Rows carry beside
    their own columns the position, id and arrival of their batch and their number in it.

    Args:
        url: `file:///folder` or `s3://bucket/prefix`.
        storage_options: Of the object store; empty for a folder.
    """

    def __init__(self, url: str, storage_options: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._options = storage_options
        self._endpoints = self._table("endpoints")
        known = self._endpoints.read(["endpoint"])
        names = [] if known is None else known.column("endpoint").to_pylist()
        self._observations = {name: self._table(_table_of(name)) for name in names}
        self._outcomes = self._table("outcomes")
        # One thread: deltalake's tables are no shared state.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prediction-log")
        self._commits = 0

    @classmethod
    async def open(cls, url: str, storage_options: Mapping[str, str]) -> Self:
        """The log as it was left."""
        return await asyncio.to_thread(cls, url, storage_options)

    @property
    def position(self) -> int:
        """Of the newest durable batch; 0 if there is none."""
        return max((table.position for table in self._tables()), default=0)

    def endpoint_columns(self, endpoint: str) -> Mapping[str, pa.DataType]:
        """Columns of an endpoint's predictions so far."""
        table = self._observations.get(endpoint)
        return {} if table is None else table.columns

    async def append(self, batches: Sequence[tuple[str, Batch]]) -> None:
        """Make batches durable, given with their ids, in the order of their positions.

        Raises:
            LogUnavailable: The store did not take them all.
        """
        await self._run(partial(self._append, batches))

    async def batch_ids(self, since: datetime) -> Mapping[str, int]:
        """Rows of each batch that arrived from a moment of the server clock on, by its id.

        Fewer rows than the batch has mean that a crash came between two tables: it is to be
        stored again.
        """
        return await self._run(partial(self._batch_ids, since))

    async def replay(
        self,
        endpoint: str,
        *,
        since: datetime | None,
        until_position: int,
        arrived_since: datetime | None = None,
    ) -> Sequence[Batch]:
        """See `PredictionLog`."""
        where = ds.field(POSITION) <= until_position
        if since is not None:
            where &= ds.field("event_time") >= _scalar(since)
        if arrived_since is not None:
            where &= ds.field(ARRIVAL) >= to_us(arrived_since)
        return await self._run(partial(self._replay, endpoint, where))

    async def observations(
        self, endpoint: str, *, start: datetime | None, end: datetime, until_position: int
    ) -> pa.Table | None:
        """Predictions with event times from `start` on and before `end`; None if unknown."""
        table = self._observations.get(endpoint)
        where = (ds.field(POSITION) <= until_position) & (ds.field("event_time") < _scalar(end))
        if start is not None:
            where &= ds.field("event_time") >= _scalar(start)
        return None if table is None else await self._run(partial(table.read, where=where))

    async def outcomes(self, *, until_position: int) -> pa.Table | None:
        """All outcomes; None if there is none."""
        where = ds.field(POSITION) <= until_position
        return await self._run(partial(self._outcomes.read, where=where))

    def close(self) -> None:
        """Wait for the write under way."""
        self._thread.shutdown()

    def _append(self, batches: Sequence[tuple[str, Batch]]) -> None:
        outcomes = [(key, batch) for key, batch in batches if isinstance(batch, OutcomeBatch)]
        by_endpoint: dict[str, list[tuple[str, ObservationBatch]]] = {}
        for key, batch in batches:
            if isinstance(batch, ObservationBatch):
                for endpoint in pc.unique(batch.rows.column("endpoint")).to_pylist():
                    by_endpoint.setdefault(endpoint, []).append((key, batch))
        for endpoint, parts in by_endpoint.items():
            if endpoint not in self._observations:
                self._endpoints.append(pa.table({"endpoint": [endpoint]}), parts[0][1].position)
                self._observations[endpoint] = self._table(_table_of(endpoint))
            rows = [
                _stamped(key, batch, batch.rows.filter(pc.field("endpoint") == endpoint))
                for key, batch in parts
            ]
            table = pa.concat_tables(rows, promote_options="default")
            self._observations[endpoint].append(table, parts[-1][1].position)
        if outcomes:
            table = pa.concat_tables([_stamped(key, batch, batch.rows) for key, batch in outcomes])
            self._outcomes.append(table, outcomes[-1][1].position)
        self._commits += 1
        if self._commits % _COMPACT_AFTER_COMMITS == 0:
            for log_table in self._tables():
                log_table.compact()

    def _batch_ids(self, since: datetime) -> dict[str, int]:
        where = ds.field(ARRIVAL) >= to_us(since)
        found = [table.read([BATCH_ID, POSITION], where) for table in self._tables()]
        stored = [rows for rows in found if rows is not None]
        if not stored:
            return {}
        tries = (
            pa.concat_tables(stored).group_by([BATCH_ID, POSITION]).aggregate([([], "count_all")])
        )
        most = tries.group_by(BATCH_ID).aggregate([("count_all", "max")])
        return dict(
            zip(
                most.column(BATCH_ID).to_pylist(),
                most.column("count_all_max").to_pylist(),
                strict=True,
            )
        )

    def _replay(self, endpoint: str, where: ds.Expression) -> list[Batch]:
        batches: list[Batch] = []
        table = self._observations.get(endpoint)
        observations = table and table.read(where=where)
        if observations is not None:
            batches += _split(observations, ObservationBatch)
        outcomes = self._outcomes.read(where=where)
        if outcomes is not None:
            batches += _split(outcomes, OutcomeBatch)
        return sorted(batches, key=lambda batch: batch.position)

    def _table(self, path: str) -> DeltaLogTable:
        return DeltaLogTable(f"{self._url}/{path}", self._options)

    def _tables(self) -> list[DeltaLogTable]:
        return [*self._observations.values(), self._outcomes]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _table_of(endpoint: str) -> str:
    served = endpoint.removesuffix(SHADOW_SUFFIX)
    ids = ENDPOINT.parse(served)
    # What nobody was told lies apart, where no reader of what was served comes across it.
    mark = ".shadow" if served != endpoint else ""
    return f"observations/{ids['project']}.{ids['endpoint']}{mark}"


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(to_us(moment), pa.int64()).cast(_EVENT_TIME)


def _stamped(batch_id: str, batch: Batch, rows: pa.Table) -> pa.Table:
    n = rows.num_rows
    return (
        rows.append_column(POSITION, pa.repeat(pa.scalar(batch.position, pa.int64()), n))
        .append_column(BATCH_ID, pa.repeat(batch_id, n))
        .append_column(ARRIVAL, pa.repeat(pa.scalar(batch.arrival_us, pa.int64()), n))
        .append_column(ROW, pa.array(range(n), pa.int64()))
    )


def _split(rows: pa.Table, kind: type[BatchT]) -> list[BatchT]:
    """The batches that rows came in, as they came."""
    ordered = rows.sort_by([(POSITION, "ascending"), (ROW, "ascending")])
    positions = ordered.column(POSITION).to_numpy()
    starts, counts = np.unique(positions, return_index=True, return_counts=True)[1:]
    own = ordered.drop_columns([POSITION, BATCH_ID, ARRIVAL, ROW])
    arrivals = ordered.column(ARRIVAL).to_numpy()
    return [
        kind(int(positions[start]), int(arrivals[start]), own.slice(start, count))
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
