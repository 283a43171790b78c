"""Joins the rows of concurrent callers into fewer, larger runs."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.common.errors import ServiceError
from services.inference.core.errors import (
    ModelFailed,
    ModelUnavailable,
    QueueDeadlineExceeded,
    QueueFull,
)
from services.inference.core.ports import RunStatistics
from services.inference.core.rows import Rows, Tensors, joined

Run = Callable[[Rows], Awaitable[Tensors]]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How far callers are joined.

    Attributes:
        max_batch_rows: Rows of one run; a single larger request still runs, alone.
        max_waiting_rows: Rows that may wait before callers are turned away.
        concurrency: Runs under way at once.
    """

    max_batch_rows: int = 256
    max_waiting_rows: int = 8192
    concurrency: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    rows: Rows
    deadline: float | None
    answer: asyncio.Future[Tensors]


class MicroBatcher:
    """Runs an idle model at once, and a busy one with everything that has gathered meanwhile.

    Nothing ever waits for company: callers are joined only because they arrive
    in one turn of the event loop or while a run is under way. Each caller gets
    its own rows; rows that a model refuses fail their own caller alone.

    Args:
        name: For errors.
        run: Runs joined rows.
        limits: Bounds.
    """

    def __init__(self, name: str, run: Run, limits: BatchLimits) -> None:
        self.statistics = RunStatistics()
        self._name = name
        self._run = run
        self._limits = limits
        self._waiting: deque[_Call] = deque()
        self._waiting_rows = 0
        self._running = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._waking = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows that no run has taken yet."""
        return self._waiting_rows

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """See `LoadedModel.infer`. Takes its place in the queue before it first suspends."""
        if self._drained is not None:
            raise ModelUnavailable(self._name, "is being unloaded")
        if self._waiting and self._waiting_rows + rows.count > self._limits.max_waiting_rows:
            raise QueueFull(self._waiting_rows, self._limits.max_waiting_rows)
        call = _Call(rows, deadline, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._waiting_rows += rows.count
        self._wake()
        return await call.answer

    async def serve(self) -> None:
        """Run batches until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._limits.concurrency):
                workers.create_task(self._work())

    async def drain(self) -> None:
        """Refuse new callers and return once those that wait have their answers."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
            self._notice_drained()
        await asyncio.shield(self._drained)

    def _wake(self) -> None:
        if self._idle and not self._waking:
            self._waking = True
            self._idle.popleft().set_result(None)

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(turn)
                await turn
                self._waking = False
            batch = self._take()
            if self._waiting:
                self._wake()
            if batch:
                self._running += 1
                try:
                    await self._answer(batch)
                finally:
                    self._running -= 1
            self._notice_drained()

    def _take(self) -> list[_Call]:
        """The longest prefix of the queue that fits one run, without those who left."""
        batch: list[_Call] = []
        count = 0
        now = time.monotonic()
        while self._waiting:
            call = self._waiting[0]
            if batch and count + call.rows.count > self._limits.max_batch_rows:
                break
            self._waiting.popleft()
            self._waiting_rows -= call.rows.count
            if call.answer.done():
                continue
            if call.deadline is not None and call.deadline <= now:
                call.answer.set_exception(QueueDeadlineExceeded())
                continue
            batch.append(call)
            count += call.rows.count
        return batch

    async def _answer(self, batch: list[_Call]) -> None:
        try:
            outputs = await self._timed_run(joined([call.rows for call in batch]))
        except ModelFailed as error:
            if len(batch) == 1:
                self.statistics.failed_rows += batch[0].rows.count
                _settle_error(batch, error)
                return
            for call in batch:
                await self._answer([call])
        except asyncio.CancelledError:
            _settle_error(batch, ModelUnavailable(self._name, "is being stopped"))
            raise
        except Exception as error:  # noqa: BLE001 - goes to the callers, who await it.
            self.statistics.failed_rows += sum(call.rows.count for call in batch)
            _settle_error(batch, error)
        else:
            _settle(batch, outputs)

    async def _timed_run(self, rows: Rows) -> Tensors:
        started = time.perf_counter_ns()
        outputs = await self._run(rows)
        statistics = self.statistics
        statistics.busy_ns += time.perf_counter_ns() - started
        statistics.runs += 1
        statistics.rows += rows.count
        statistics.last_run_ms = time.time_ns() // 1_000_000
        return outputs

    def _notice_drained(self) -> None:
        if self._drained and not (self._drained.done() or self._waiting or self._running):
            self._drained.set_result(None)


def _settle(batch: list[_Call], outputs: Tensors) -> None:
    if len(batch) == 1:
        if not batch[0].answer.done():
            batch[0].answer.set_result(outputs)
        return
    start = 0
    for call in batch:
        end = start + call.rows.count
        if not call.answer.done():
            call.answer.set_result({name: array[start:end] for name, array in outputs.items()})
        start = end


def _settle_error(batch: list[_Call], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            # One exception object raised in several tasks would chain their tracebacks.
            call.answer.set_exception(_fresh(error) if len(batch) > 1 else error)


def _fresh(error: Exception) -> Exception:
    if isinstance(error, ServiceError):
        copy = error.__class__.__new__(error.__class__)
        copy.args = error.args
        copy.__dict__.update(error.__dict__)
        return copy
    return error
