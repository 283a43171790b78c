"""The replicas of a Triton server, and how they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import grpc
import structlog

from services.inference.adapters.triton.balancer import Balancer
from services.inference.adapters.triton.replica import TritonReplica
from services.inference.adapters.triton.repository import (
    Backend,
    is_away,
    lacks_backend,
    load_request,
    model_name,
    refusal_text,
)
from services.inference.core.errors import ModelUnavailable, UnservableBundle
from services.inference.core.ports import Bundle

log = structlog.get_logger()


class ReplicaPool:
    """Loads models on replicas, and knows which of them should get calls.

    Args:
        addresses: `host:port` of each replica's gRPC.
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, addresses: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self.replicas = [TritonReplica(address) for address in addresses]
        self.balancer = Balancer(self.replicas, now)
        self._backends: dict[TritonReplica, Backend] = {}

    def backend_of(self, replica: TritonReplica) -> Backend | None:
        """What runs the models on `replica`; None before the first is loaded."""
        return self._backends.get(replica)

    async def push(self, replica: TritonReplica, bundle: Bundle, generation: str) -> None:
        """Load `bundle`; a new `generation` forces it even if Triton thinks that it is loaded.

        Raises:
            UnservableBundle: Triton refuses it.
            ModelUnavailable: Triton is away.
        """
        known = self._backends.get(replica)
        for backend in [known] if known else list(Backend):
            request = await asyncio.to_thread(load_request, bundle, backend, generation)
            try:
                await replica.load(request)
            except grpc.aio.AioRpcError as error:
                if is_away(error):
                    self.missed(replica, error)
                    raise ModelUnavailable(bundle.version, refusal_text(error)) from error
                if backend is Backend.ONNX_RUNTIME and lacks_backend(error):
                    continue
                raise UnservableBundle(
                    "model.onnx", f"Triton refuses it: {refusal_text(error)}"
                ) from error
            self._backends[replica] = backend
            return

    async def drop(self, bundle: Bundle) -> None:
        """Unload `bundle`; a server that is away has nothing loaded."""
        await asyncio.gather(*(self._drop(each, bundle) for each in self.replicas))

    def answered(self, replica: TritonReplica) -> None:
        """Note that `replica` answered."""
        if self.balancer.answered(replica):
            log.info("triton.readmitted", replica=replica.address)

    def missed(self, replica: TritonReplica, error: grpc.aio.AioRpcError) -> None:
        """Note that `replica` did not answer; it may get no calls for a while."""
        # After a restart it may have other backends.
        self._backends.pop(replica, None)
        slow = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        ejected = self.balancer.timed_out(replica) if slow else self.balancer.gone(replica)
        if ejected:
            log.warning("triton.ejected", replica=replica.address, error=refusal_text(error))

    async def close(self) -> None:
        """Close the channels; every model must be unloaded."""
        await asyncio.gather(*(replica.close() for replica in self.replicas))

    async def _drop(self, replica: TritonReplica, bundle: Bundle) -> None:
        if not self.balancer.is_admitted(replica):
            return
        try:
            await replica.unload(model_name(bundle))
        except grpc.aio.AioRpcError as error:
            log.warning(
                "triton.unload_failed",
                version=bundle.version,
                replica=replica.address,
                error=refusal_text(error),
            )
