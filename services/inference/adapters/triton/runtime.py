"""Runs models on Triton servers."""

from __future__ import annotations

import asyncio
from typing import Final

from services.common.errors import ServiceError
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.triton.model import TritonModel
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.replica import TritonReplica
from services.inference.core.errors import ModelUnavailable, UnservableBundle
from services.inference.core.ports import Bundle


class TritonRuntime:
    """Pushes verified bundles to every replica of a Triton server and runs them there.

    Several instances of the service may share the servers: a model that another
    instance unloaded is loaded again by the first call that misses it.

    Args:
        pool: The replicas; this object closes it.
        tasks: Holds the tasks of each loaded model.
        limits: How callers are joined; `concurrency` is of all replicas together.
        probe_s: Seconds between looks at a model without traffic, on each replica.
    """

    platform: Final = "triton_onnx"

    def __init__(
        self,
        pool: ReplicaPool,
        tasks: asyncio.TaskGroup,
        limits: BatchLimits,
        probe_s: float = 1.0,
    ) -> None:
        self._pool = pool
        self._tasks = tasks
        self._limits = limits
        self._probe_s = probe_s

    async def load(self, bundle: Bundle) -> TritonModel:
        """See `ModelRuntime`. One replica that takes it is enough; others get it when they can."""
        failures = await asyncio.gather(
            *(self._pushed(replica, bundle) for replica in self._pool.replicas)
        )
        refused = [error for error in failures if isinstance(error, UnservableBundle)]
        if refused or all(failures):
            await self._pool.drop(bundle)
            raise refused[0] if refused else next(error for error in failures if error)
        model = TritonModel(self._pool, bundle, self._limits)
        model.start(self._tasks, self._probe_s)
        await model.warm_up()
        return model

    async def close(self) -> None:
        """Close the channels; every model must be unloaded."""
        await self._pool.close()

    async def _pushed(self, replica: TritonReplica, bundle: Bundle) -> ServiceError | None:
        """Why `replica` did not take `bundle`, if it did not."""
        try:
            await self._pool.push(replica, bundle, "0")
        except (ModelUnavailable, UnservableBundle) as error:
            return error
        return None
