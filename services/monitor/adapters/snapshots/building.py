"""Builds training snapshots in the registry; a repeat builds the same one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import pyarrow as pa
from roundhouse.trainer.v1 import job_pb2
from sqlalchemy import Connection, select

from services.common.store.database import Database
from services.monitor.adapters.database.tables import SNAPSHOT_PIN
from services.monitor.adapters.log.delta_log import DeltaPredictionLog
from services.monitor.adapters.snapshots.registry import NewSnapshot, RegistrySnapshots
from services.monitor.adapters.snapshots.rows import (
    TrainingColumns,
    joined,
    parquet_bytes,
    template_rows,
)
from services.monitor.core.errors import NoTrainingRows
from services.monitor.core.ports import BuiltSnapshot, SnapshotOrder
from services.monitor.core.stream.batches import answered

_FILE: Final = "rows.parquet"


class LoggedTrainingSnapshots:
    """Implements `TrainingSnapshots`.

    Which batches of the log count is noted before anything is built, so that outcomes which
    come in between a crash and the repeat do not change the snapshot's bytes.

    Args:
        database: Remembers how far in the log an order reads.
        log: Of predictions and outcomes.
        registry: Holds snapshots.
        spec_of: Gives the spec of a training job, by resource name.
    """

    def __init__(
        self,
        database: Database,
        log: DeltaPredictionLog,
        registry: RegistrySnapshots,
        spec_of: Callable[[str], Awaitable[job_pb2.JobSpec]],
    ) -> None:
        self._database = database
        self._log = log
        self._registry = registry
        self._spec_of = spec_of

    async def build(self, order: SnapshotOrder) -> BuiltSnapshot:
        """See `TrainingSnapshots`."""
        position = await self._pinned(order.request_id)
        spec = await self._spec_of(order.template_job)
        columns = _columns(spec)
        rows = await self._logged_rows(order, columns, position)
        source = f"observations of {order.endpoint} with their outcomes"
        await self._registry.check_unheld(order.dataset, source, order.start, order.end)
        parents: tuple[str, ...] = ()
        if order.include_template_snapshot:
            parents = (spec.snapshot,)
            earlier = await self._registry.read(spec.snapshot)
            rows = pa.concat_tables([template_rows(earlier, columns), rows])
        content, digest = await asyncio.to_thread(parquet_bytes, rows)
        return await self._registry.create(
            NewSnapshot(
                dataset=order.dataset,
                snapshot_id=order.snapshot_id,
                time_column=columns.time,
                required_columns=(columns.target,),
                source=source,
                parents=parents,
                path=_FILE,
                content=content,
                digest=digest,
            ),
            uuid.UUID(order.request_id),
        )

    async def _logged_rows(
        self, order: SnapshotOrder, columns: TrainingColumns, position: int
    ) -> pa.Table:
        observations = await self._log.observations(
            order.endpoint, start=order.start, end=order.end, until_position=position
        )
        outcomes = await self._log.outcomes(until_position=position)
        if observations is None or outcomes is None:
            raise NoTrainingRows(order.monitor)
        rows = await asyncio.to_thread(joined, answered(observations), outcomes, columns)
        if not rows.num_rows:
            raise NoTrainingRows(order.monitor)
        return rows

    async def _pinned(self, request_id: str) -> int:
        newest = self._log.position

        def pin(connection: Connection) -> int:
            found = connection.execute(
                select(SNAPSHOT_PIN.c.log_position).where(SNAPSHOT_PIN.c.request_id == request_id)
            ).scalar_one_or_none()
            if found is not None:
                return int(found)
            connection.execute(
                SNAPSHOT_PIN.insert().values(request_id=request_id, log_position=newest)
            )
            return newest

        return await self._database.write(pin)


def _columns(spec: job_pb2.JobSpec) -> TrainingColumns:
    kinds = job_pb2.Feature.Kind
    return TrainingColumns(
        numeric=[f.name for f in spec.features if f.kind == kinds.KIND_NUMERIC],
        categorical=[
            f.name for f in spec.features if f.kind in (kinds.KIND_CATEGORICAL, kinds.KIND_TEXT)
        ],
        target=spec.target,
        time=spec.split.time_column,
    )
