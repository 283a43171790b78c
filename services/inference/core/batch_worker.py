"""Works batch prediction jobs off, one after the other, whenever online requests leave room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from services.common.clock import Clock
from services.common.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from services.inference.core.batches import (
    BatchPredictionJob,
    BatchState,
)
from services.inference.core.ports import (
    BatchFiles,
    Bundles,
    InferenceTx,
    LoadedModel,
    ModelRuntime,
    Store,
)
from services.inference.core.rows import Rows, check_values
from services.inference.core.signature import PROBABILITIES, Signature
from services.inference.core.use_cases import batches as cases

log = structlog.get_logger()

LOOK_S: Final = 1.0
"""Longest time between looks at jobs that other processes wrote."""

RUN_ROWS: Final = 256
"""Rows of one run: what an online request may have to wait behind."""

YIELD_S: Final = 0.25
"""How long a run waits for online requests at most, so that steady traffic slows jobs down and
never stops them."""

_YIELD_STEP_S: Final = 0.002
_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 30.0
_FINAL: Final = (InvalidArgument, FailedPrecondition, NotFound, DataLoss)
_PASSING: Final = (Unavailable, ResourceExhausted, DeadlineExceeded)


class RateLimit:
    """Spaces rows out.

    Args:
        rows_per_s: 0 means no limit.
    """

    def __init__(self, rows_per_s: int) -> None:
        self._rows_per_s = rows_per_s
        self._free_s = 0.0

    @property
    def run_rows(self) -> int:
        """Rows of a run, about a second's at most, so that a slow job is soon cancelled."""
        return min(RUN_ROWS, self._rows_per_s or RUN_ROWS)

    def wait_s(self, rows: int, now_s: float) -> float:
        """How long so many rows have to wait from now on."""
        if not self._rows_per_s:
            return 0.0
        begin_s = max(now_s, self._free_s)
        self._free_s = begin_s + rows / self._rows_per_s
        return begin_s - now_s


class _Stopped(Exception):
    """The job does not run any more."""


class BatchWorker:
    """Performs jobs; every step starts from the row, so who takes over goes on where it stopped.

    Args:
        store: The rows, guarded by the worker's lease.
        files: What is read and written.
        bundles: For batch jobs alone.
        runtime: For batch jobs alone, so that online queues are untouched.
        is_busy: Whether online requests are under way.
        now: The clock.
    """

    def __init__(
        self,
        store: Store,
        files: BatchFiles,
        bundles: Bundles,
        runtime: ModelRuntime,
        is_busy: Callable[[], bool],
        now: Clock,
    ) -> None:
        self._store = store
        self._files = files
        self._bundles = bundles
        self._runtime = runtime
        self._is_busy = is_busy
        self._now = now

    async def run(self, written: asyncio.Event) -> None:
        """Work until cancelled.

        Args:
            written: Set whenever this process has written a row.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            written.clear()
            job = await self._store.read(_next_job)
            if job is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await written.wait()
                continue
            try:
                await self.advance(job)
            except _PASSING as error:
                log.warning("batch.postponed", job=job.meta.name, reason=error.reason)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S

    async def advance(self, job: BatchPredictionJob) -> None:
        """Bring a job to its end, or to where it can't go on now.

        Raises:
            Unavailable, ResourceExhausted, DeadlineExceeded: It is to be tried again.
        """
        name = job.meta.name
        try:
            if job.state is BatchState.PENDING:
                url = self._files.url_of(job)
                job = await self._store.write(lambda tx: cases.begin(tx, name, url, self._now()))
            if job.state is BatchState.RUNNING:
                job = await self._predict(job)
        except _Stopped:
            job = await self._store.read(lambda tx: cases.get_job(tx, name))
        except _FINAL as error:
            job = await self._given_up(name, error)
        if job.state is BatchState.FINISHING:
            digest = await self._files.write_manifest(job)
            await self._store.write(lambda tx: cases.succeed(tx, name, digest, self._now()))
        elif job.state in (BatchState.CANCELLING, BatchState.FAILING):
            await self._files.remove(job)
            await self._store.write(lambda tx: cases.end_removed(tx, name, self._now()))
        elif job.state is BatchState.DELETING:
            await self._files.remove(job)
            await self._store.write(lambda tx: cases.forget(tx, name))

    async def _given_up(self, name: str, error: ServiceError) -> BatchPredictionJob:
        log.warning("batch.failed", job=name, reason=error.reason)
        return await self._store.write(lambda tx: cases.give_up(tx, name, error, self._now()))

    async def _predict(self, job: BatchPredictionJob) -> BatchPredictionJob:
        bundle = await self._bundles.fetch(job.version, job.version_digest)
        model = await self._runtime.load(bundle)
        limit = RateLimit(job.max_rows_per_s)
        try:
            while job.state is BatchState.RUNNING:
                job = await self._predict_part(job, model, bundle.signature, limit)
        finally:
            await model.unload()
            await self._files.forget()
            await self._bundles.retain(())
        return job

    async def _predict_part(
        self, job: BatchPredictionJob, model: LoadedModel, signature: Signature, limit: RateLimit
    ) -> BatchPredictionJob:
        name = job.meta.name
        looked_s = begun_s = time.monotonic()

        async def score(rows: Rows) -> NDArray[np.float32]:
            nonlocal looked_s
            check_values(signature, rows)
            scores = []
            for block in blocks_of(rows, limit.run_rows):
                await asyncio.sleep(limit.wait_s(block.count, time.monotonic()))
                await self._give_way()
                scores.append((await model.infer(block, None))[PROBABILITIES][:, 1])
                if time.monotonic() - looked_s > LOOK_S:
                    looked_s = time.monotonic()
                    await self._check_runs(name)
            return np.concatenate(scores)

        part = await self._files.predict(job, job.todo[0], signature, score)
        took_s = time.monotonic() - begun_s
        return await self._store.write(
            lambda tx: cases.add_part(tx, name, part, took_s, self._now())
        )

    async def _give_way(self) -> None:
        waited_until_s = time.monotonic() + YIELD_S
        while self._is_busy() and time.monotonic() < waited_until_s:  # noqa: ASYNC110 - nobody tells when the last call ends
            await asyncio.sleep(_YIELD_STEP_S)

    async def _check_runs(self, name: str) -> None:
        job = await self._store.read(lambda tx: cases.get_job(tx, name))
        if job.state is not BatchState.RUNNING:
            raise _Stopped


def _next_job(tx: InferenceTx) -> BatchPredictionJob | None:
    """The oldest job that there is something to do for."""
    waiting = (each for each in tx.unfinished_batch_jobs() if each.state is not BatchState.PAUSED)
    return next(waiting, None)


def blocks_of(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in order, at most `size` at a time."""
    for first in range(0, rows.count, size):
        last = min(first + size, rows.count)
        yield rows.part(first, last)
