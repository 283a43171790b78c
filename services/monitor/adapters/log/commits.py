"""Group commit: batches that arrive within a moment become durable in one commit.

A commit per batch would make thousands of small files an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pyarrow as pa

from services.common.clock import Clock
from services.common.errors import Unavailable
from services.monitor.adapters.log.delta_log import BATCH_MEMORY, DeltaPredictionLog
from services.monitor.adapters.log.metrics import COMMIT_SECONDS, ROWS, WAITING_ROWS
from services.monitor.core.stream.batches import Batch, ObservationBatch, OutcomeBatch
from services.monitor.core.windows import from_us, to_us

_KINDS: Final = {ObservationBatch: "observations", OutcomeBatch: "outcomes"}

MAX_WAITING_ROWS: Final = 200_000
"""Rows that may wait for a commit; more wait outside, which slows the senders down."""


@dataclass(eq=False, slots=True)
class _Waiting:
    batch_id: str
    batch: Batch
    durable: asyncio.Future[None] = field(default_factory=asyncio.Future)


class GroupCommitter:
    """The only writer of the log. `run` must be running.

    Args:
        log: Where batches become durable.
        deliver: Gets the batches in the order of their positions, once durable.
        now: The clock.
        interval_s: How long the first batch of a commit waits for company.
    """

    def __init__(
        self,
        log: DeltaPredictionLog,
        deliver: Callable[[Sequence[Batch]], None],
        now: Clock,
        *,
        interval_s: float,
    ) -> None:
        self._log = log
        self._deliver = deliver
        self._now = now
        self._interval_s = interval_s
        self._position = log.position
        self._waiting: list[_Waiting] = []
        self._under_way: dict[str, _Waiting] = {}
        self._arrived = asyncio.Event()
        self._room = asyncio.Condition()
        self._stored: dict[str, tuple[int, int]] = {}

    async def load(self) -> None:
        """Learn which batches are durable already; before anything is submitted."""
        since = self._now() - BATCH_MEMORY
        arrival_us = to_us(self._now())
        known = await self._log.batch_ids(since)
        self._stored = {batch_id: (rows, arrival_us) for batch_id, rows in known.items()}

    async def submit(
        self, kind: type[ObservationBatch] | type[OutcomeBatch], batch_id: str, rows: pa.Table
    ) -> None:
        """Return once the batch is durable; one whose id is known already is.

        Raises:
            LogUnavailable: The store takes nothing at present.
        """
        if self._stored.get(batch_id, (-1, 0))[0] == rows.num_rows:
            return
        waiting = self._under_way.get(batch_id)
        if waiting is None:
            # No await between the look-up and the entry: a twin must find it.
            waiting = _Waiting(batch_id, kind(0, to_us(self._now()), rows))
            self._under_way[batch_id] = waiting
            try:
                await self._enqueue(waiting)
            except BaseException:
                del self._under_way[batch_id]
                raise
        await asyncio.shield(waiting.durable)

    async def run(self) -> None:
        """Commit what arrives until cancelled; then once more what waits."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(self._interval_s)
                await self._commit()
        except asyncio.CancelledError:
            await asyncio.shield(self._commit())
            raise

    async def _enqueue(self, waiting: _Waiting) -> None:
        async with self._room:
            await self._room.wait_for(lambda: self._waiting_rows() < MAX_WAITING_ROWS)
            self._waiting.append(waiting)
            WAITING_ROWS.inc(waiting.batch.rows.num_rows)
            self._arrived.set()

    def _waiting_rows(self) -> int:
        return sum(waiting.batch.rows.num_rows for waiting in self._waiting)

    async def _commit(self) -> None:
        WAITING_ROWS.dec(self._waiting_rows())
        group, self._waiting = self._waiting, []
        self._arrived.clear()
        async with self._room:
            self._room.notify_all()
        if not group:
            return
        batches = []
        for waiting in group:
            self._position += 1
            batches.append((waiting.batch_id, replace(waiting.batch, position=self._position)))
        try:
            with COMMIT_SECONDS.time():
                await self._log.append(batches)
        except Unavailable as error:
            for waiting in group:
                self._settle(waiting, error)
            return
        self._forget(self._now() - BATCH_MEMORY)
        for waiting in group:
            self._stored[waiting.batch_id] = (waiting.batch.rows.num_rows, waiting.batch.arrival_us)
            self._settle(waiting, None)
            ROWS.labels(_KINDS[type(waiting.batch)]).inc(waiting.batch.rows.num_rows)
        self._deliver([batch for _, batch in batches])

    def _settle(self, waiting: _Waiting, error: Exception | None) -> None:
        del self._under_way[waiting.batch_id]
        if error is None:
            waiting.durable.set_result(None)
        else:
            waiting.durable.set_exception(error)
            waiting.durable.exception()  # its submitter may have gone away

    def _forget(self, before: datetime) -> None:
        oldest = next(iter(self._stored.values()), None)
        if oldest is not None and from_us(oldest[1]) < before:
            limit = to_us(before)
            self._stored = {key: kept for key, kept in self._stored.items() if kept[1] >= limit}
