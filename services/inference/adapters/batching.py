"""Joins the rows of concurrent callers into fewer, larger runs."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.common.errors import ServiceError
from services.inference.core.errors import (
    ModelFailed,
    ModelUnavailable,
    QueueDeadlineExceeded,
    QueueFull,
)
from services.inference.core.ports import RunStatistics
from services.inference.core.rows import Rows, Tensors, joined

Run = Callable[[Rows, float | None], Awaitable[Tensors]]
"""Runs rows; nobody waits for them after the second argument, a `time.monotonic()`."""

_SMOOTHING: Final = 0.1
_SHORTEST_WAIT_S: Final = 0.0005
"""The resolution of uvloop's timers; below it they would only spin."""
_SHORTEST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How far callers are joined, and how many may wait.

    Attributes:
        max_batch_rows: Rows of one run; a single larger request still runs, alone.
        max_waiting_rows: Rows that may wait before callers are turned away.
        concurrency: Runs under way at once.
        max_batch_bytes: Of one run's values; a single larger request still runs, alone.
        max_waiting_bytes: Of the values that may wait before callers are turned away.
        max_waiting_s: Callers are turned away while the first in the queue waits longer.
        linger_s: While another run is under way, one that is not full waits for company so
            long, or until a caller's deadline is near. An idle model never waits.
    """

    max_batch_rows: int = 256
    max_waiting_rows: int = 8192
    concurrency: int = 1
    max_batch_bytes: int = 4 << 20
    max_waiting_bytes: int = 64 << 20
    max_waiting_s: float = 5.0
    linger_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    rows: Rows
    size_bytes: int
    since: float
    deadline: float | None
    answer: asyncio.Future[Tensors]


class MicroBatcher:
    """Runs an idle model at once, and a busy one with everything that has gathered meanwhile.

    Each caller gets its own rows; rows that a model refuses fail their own caller alone. What
    would not be run in time, or not fit into memory, is refused before any work is done on it.

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
        self._waiting_bytes = 0
        self._soonest_deadline = math.inf
        self._running = 0
        self._run_s = 0.0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._waking = False
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._drained: asyncio.Future[None] | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows that no run has taken yet."""
        return self._waiting_rows

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """See `LoadedModel.infer`. Takes its place in the queue before it first suspends."""
        if self._drained is not None:
            raise ModelUnavailable(self._name, "is being unloaded")
        now = time.monotonic()
        if deadline is not None:
            if deadline <= now:
                raise QueueDeadlineExceeded
            self._soonest_deadline = min(self._soonest_deadline, deadline)
        size_bytes = rows.size_bytes
        if self._waiting:
            self._check_room(rows.count, size_bytes, now)
        loop = asyncio.get_running_loop()
        call = _Call(rows, size_bytes, now, deadline, loop.create_future())
        self._waiting.append(call)
        self._waiting_rows += rows.count
        self._waiting_bytes += size_bytes
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

    def _check_room(self, count: int, size_bytes: int, now: float) -> None:
        limits = self._limits
        if self._waiting_rows + count > limits.max_waiting_rows:
            raise self._full("rows", self._waiting_rows, limits.max_waiting_rows)
        if self._waiting_bytes + size_bytes > limits.max_waiting_bytes:
            raise self._full("bytes", self._waiting_bytes, limits.max_waiting_bytes)
        if (age_s := now - self._waiting[0].since) > limits.max_waiting_s:
            raise self._full("ms", int(age_s * 1000), int(limits.max_waiting_s * 1000))

    def _full(self, unit: str, waiting: int, limit: int) -> QueueFull:
        return QueueFull(unit, waiting, limit, self._retry_after_s())

    def _retry_after_s(self) -> float:
        """When half of what waits should have run."""
        statistics = self.statistics
        row_s = statistics.busy_ns / 1e9 / max(1, statistics.rows)
        estimate_s = self._waiting_rows * row_s / self._limits.concurrency / 2
        return min(max(estimate_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)

    def _wake(self) -> None:
        """Have an idle worker take what waits, now or when it is due."""
        if not self._idle or self._waking or not self._waiting:
            return
        wait_s = self._due_in()
        if wait_s <= 0:
            self._waking = True
            self._idle.popleft().set_result(None)
            return
        due = time.monotonic() + wait_s
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        self._wake()

    def _due_in(self) -> float:
        """Seconds until what waits should run, although more might join it."""
        limits = self._limits
        if (
            not self._running
            or not limits.linger_s
            or self._waiting_rows >= limits.max_batch_rows
            or self._waiting_bytes >= limits.max_batch_bytes
        ):
            return 0.0
        due = min(
            self._waiting[0].since + limits.linger_s, self._soonest_deadline - 2 * self._run_s
        )
        wait_s = due - time.monotonic()
        return wait_s if wait_s >= _SHORTEST_WAIT_S else 0.0

    async def _work(self) -> None:
        while True:
            while not self._waiting or self._due_in():
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(turn)
                self._wake()
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
            if self._waiting:
                self._wake()
                # A run on the event loop itself does not suspend; others get their turn here.
                await asyncio.sleep(0)

    def _take(self) -> list[_Call]:
        """The longest prefix of the queue that fits one run, without those who left."""
        batch: list[_Call] = []
        count = size_bytes = 0
        now = time.monotonic()
        limits = self._limits
        while self._waiting:
            call = self._waiting[0]
            if batch and (
                count + call.rows.count > limits.max_batch_rows
                or size_bytes + call.size_bytes > limits.max_batch_bytes
            ):
                break
            self._waiting.popleft()
            self._waiting_rows -= call.rows.count
            self._waiting_bytes -= call.size_bytes
            if call.answer.done():
                continue
            if call.deadline is not None and call.deadline <= now:
                call.answer.set_exception(QueueDeadlineExceeded())
                continue
            batch.append(call)
            count += call.rows.count
            size_bytes += call.size_bytes
        self._soonest_deadline = min(
            (call.deadline for call in self._waiting if call.deadline is not None),
            default=math.inf,
        )
        return batch

    async def _answer(self, batch: list[_Call]) -> None:
        try:
            outputs = await self._timed_run(batch)
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
        except QueueDeadlineExceeded as error:
            _settle_error(batch, error)
        except Exception as error:  # noqa: BLE001 - goes to the callers, who await it.
            self.statistics.failed_rows += sum(call.rows.count for call in batch)
            _settle_error(batch, error)
        else:
            _settle(batch, outputs)

    async def _timed_run(self, batch: list[_Call]) -> Tensors:
        rows = joined([call.rows for call in batch])
        started = time.perf_counter_ns()
        outputs = await self._run(rows, _last_deadline(batch))
        took_ns = time.perf_counter_ns() - started
        self._run_s += _SMOOTHING * (took_ns / 1e9 - self._run_s)
        statistics = self.statistics
        statistics.busy_ns += took_ns
        statistics.runs += 1
        statistics.rows += rows.count
        statistics.last_run_ms = time.time_ns() // 1_000_000
        return outputs

    def _notice_drained(self) -> None:
        if self._drained and not (self._drained.done() or self._waiting or self._running):
            self._drained.set_result(None)


def _last_deadline(batch: list[_Call]) -> float | None:
    """When the most patient of the callers gives up; None if one does not."""
    last = 0.0
    for call in batch:
        if call.deadline is None:
            return None
        last = max(last, call.deadline)
    return last


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
