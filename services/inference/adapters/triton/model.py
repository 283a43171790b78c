"""A version on the replicas of a Triton server, with its batcher and its supervisor."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Final

import grpc
import structlog

from services.common.errors import ServiceError
from services.inference.adapters.batching import BatchLimits, MicroBatcher
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.replica import TritonReplica
from services.inference.adapters.triton.repository import (
    infer_request,
    is_away,
    needs_reload,
    read_outputs,
    refusal_text,
)
from services.inference.core.errors import ModelFailed, ModelUnavailable, QueueDeadlineExceeded
from services.inference.core.ports import Bundle, RunStatistics
from services.inference.core.rows import Rows, Tensors
from services.inference.core.samples import sample_rows

log = structlog.get_logger()

_RUN_TIMEOUT_S: Final = 10.0
_TRIES_OF_ONE_REPLICA: Final = 2
"""The second one after the model was loaded there again."""


class TritonModel:
    """Implements `LoadedModel`.

    Inference changes nothing, so a call that one replica did not answer goes to another.
    """

    def __init__(self, pool: ReplicaPool, bundle: Bundle, limits: BatchLimits) -> None:
        self._pool = pool
        self._bundle = bundle
        self._batcher = MicroBatcher(bundle.version, self._run, limits)
        self._tasks: asyncio.TaskGroup | None = None
        self._own_tasks: list[asyncio.Task[None]] = []
        self._last_run_s: dict[TritonReplica, float] = {}
        # Replicas that have lost the model, each with the task that loads it there again.
        self._restoring: dict[TritonReplica, asyncio.Task[ServiceError | None]] = {}

    @property
    def statistics(self) -> RunStatistics:
        """See `LoadedModel`."""
        return self._batcher.statistics

    @property
    def waiting_rows(self) -> int:
        """See `LoadedModel`."""
        return self._batcher.waiting_rows

    @property
    def memory_bytes(self) -> int:
        """See `LoadedModel`. The model's file; Triton tells no more of its processes."""
        return (self._bundle.folder / "model.onnx").stat().st_size

    def start(self, tasks: asyncio.TaskGroup, probe_s: float) -> None:
        """Serve callers and supervise the model in tasks of `tasks`."""
        self._tasks = tasks
        self._own_tasks = [
            tasks.create_task(self._batcher.serve()),
            *(
                tasks.create_task(self._supervise(replica, probe_s))
                for replica in self._pool.replicas
            ),
        ]

    async def warm_up(self) -> None:
        """Run once on every replica that takes calls: the first run takes 100 times the others."""
        admitted = filter(self._pool.balancer.is_admitted, self._pool.replicas)
        await asyncio.gather(*map(self._probe, admitted))

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """See `LoadedModel`."""
        return await self._batcher.infer(rows, deadline)

    async def unload(self) -> None:
        """See `LoadedModel`."""
        await self._batcher.drain()
        for task in (*self._own_tasks, *self._restoring.values()):
            task.cancel()
        await self._pool.drop(self._bundle)

    async def _run(self, rows: Rows, deadline: float | None) -> Tensors:
        request = infer_request(self._bundle, rows)
        tried: list[TritonReplica] = []
        failure: grpc.aio.AioRpcError | None = None
        while (replica := await self._next(tried)) is not None:
            tried.append(replica)
            try:
                return await self._run_on(replica, request, rows.count, deadline)
            except grpc.aio.AioRpcError as error:
                if not (is_away(error) or needs_reload(error)):
                    raise ModelFailed(self._bundle.version, refusal_text(error)) from error
                failure = error
        assert failure is not None, "there is a replica to begin with"
        raise ModelUnavailable(self._bundle.version, refusal_text(failure)) from failure

    async def _next(self, tried: list[TritonReplica]) -> TritonReplica | None:
        """A replica that may have the model, once each; else one that just got it back."""
        replica = self._pool.balancer.chosen(without={*tried, *self._restoring})
        if replica is not None:
            return replica
        for replica, restored in list(self._restoring.items()):
            if tried.count(replica) < _TRIES_OF_ONE_REPLICA:
                if (failure := await asyncio.shield(restored)) is not None:
                    raise failure
                return replica
        return None

    async def _run_on(
        self, replica: TritonReplica, request: bytes, count: int, deadline: float | None
    ) -> Tensors:
        """The outputs of one run on `replica`, noting how it did.

        Raises:
            grpc.aio.AioRpcError: Triton's refusal.
            ModelFailed: Triton answered with something else than its configuration says.
            QueueDeadlineExceeded: The callers' time is over.
        """
        left_s = _RUN_TIMEOUT_S if deadline is None else deadline - time.monotonic()
        if left_s <= 0.0:
            raise QueueDeadlineExceeded
        try:
            with self._pool.balancer.calling(replica):
                response = await replica.infer(request, min(left_s, _RUN_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            if is_away(error):
                self._pool.missed(replica, error)
            elif needs_reload(error):
                self._restore(replica)
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and left_s <= _RUN_TIMEOUT_S:
                raise QueueDeadlineExceeded from error
            raise
        self._pool.answered(replica)
        self._last_run_s[replica] = time.monotonic()
        return read_outputs(self._bundle, response, count)

    def _restore(self, replica: TritonReplica) -> None:
        """Begin to load the model again where it was lost, unless that is under way."""
        if replica not in self._restoring and self._tasks is not None:
            self._restoring[replica] = self._tasks.create_task(self._restored(replica))

    async def _restored(self, replica: TritonReplica) -> ServiceError | None:
        """Load the model again; gives why that failed, if it did."""
        version = self._bundle.version
        log.warning("triton.reviving", version=version, replica=replica.address)
        try:
            await self._pool.push(replica, self._bundle, uuid.uuid4().hex)
        except ServiceError as error:
            log.warning("triton.revival_failed", version=version, reason=error.reason)
            return error
        finally:
            self._restoring.pop(replica, None)
        return None

    async def _supervise(self, replica: TritonReplica, probe_s: float) -> None:
        """Find a crashed stub, an emptied server or one that is back before a caller does."""
        balancer = self._pool.balancer
        while True:
            await asyncio.sleep(probe_s)
            idle_s = time.monotonic() - self._last_run_s.get(replica, 0.0)
            due = idle_s >= probe_s if balancer.is_admitted(replica) else balancer.is_due(replica)
            if due and replica not in self._restoring:
                await self._probe(replica)

    async def _probe(self, replica: TritonReplica) -> None:
        """Run made-up rows; what comes of it is noted."""
        sample = sample_rows(self._bundle.signature, 1)
        try:
            await self._run_on(replica, infer_request(self._bundle, sample), sample.count, None)
        except (grpc.aio.AioRpcError, ServiceError) as error:
            log.warning(
                "triton.probe_failed",
                version=self._bundle.version,
                replica=replica.address,
                error=str(error) if isinstance(error, ServiceError) else refusal_text(error),
            )
