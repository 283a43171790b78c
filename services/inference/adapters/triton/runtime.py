"""Runs models on a Triton server."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any, Final

import grpc
import structlog
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from services.common.errors import ServiceError
from services.inference.adapters.batching import BatchLimits, MicroBatcher
from services.inference.adapters.triton.repository import (
    Backend,
    infer_request,
    is_away,
    lacks_backend,
    load_request,
    model_name,
    needs_reload,
)
from services.inference.core.errors import ModelFailed, ModelUnavailable, UnservableBundle
from services.inference.core.ports import Bundle, RunStatistics
from services.inference.core.rows import Rows, Tensors
from services.inference.core.samples import sample_rows
from services.inference.core.wire import decoded

log = structlog.get_logger()

_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
_RUN_TIMEOUT_S: Final = 10.0
_LOAD_TIMEOUT_S: Final = 120.0
_UNLOAD_TIMEOUT_S: Final = 30.0
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class TritonRuntime:
    """Pushes verified bundles to a Triton server and runs them there.

    Several replicas of the service may share a server: a model that another
    replica unloaded is loaded again by the first call that misses it.

    Args:
        address: `host:port` of its gRPC.
        tasks: Holds two tasks per loaded model.
        limits: How callers are joined.
        probe_s: Seconds between looks at a model without traffic.
    """

    platform: Final = "triton_onnx"

    def __init__(
        self,
        address: str,
        tasks: asyncio.TaskGroup,
        limits: BatchLimits,
        probe_s: float = 5.0,
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        # tritonclient ships no stubs for its generated code.
        self._stub: Any = pb_grpc.GRPCInferenceServiceStub(self._channel)
        # Serialized requests go out as they are.
        self._infer: Any = self._channel.unary_unary(
            _INFER_PATH, response_deserializer=pb.ModelInferResponse.FromString
        )
        self._tasks = tasks
        self._limits = limits
        self._probe_s = probe_s
        self._backend: Backend | None = None

    async def load(self, bundle: Bundle) -> TritonModel:
        """See `ModelRuntime`."""
        await self.push(bundle, "0")
        model = TritonModel(self, bundle, self._limits)
        model.start(self._tasks, self._probe_s)
        return model

    async def push(self, bundle: Bundle, generation: str) -> None:
        """Load `bundle`; a new `generation` forces it even if Triton thinks that it is loaded.

        Raises:
            UnservableBundle: Triton refuses it.
            ModelUnavailable: Triton is away.
        """
        for backend in [self._backend] if self._backend else list(Backend):
            request = await asyncio.to_thread(load_request, bundle, backend, generation)
            try:
                await self._stub.RepositoryModelLoad(request, timeout=_LOAD_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if is_away(error):
                    raise ModelUnavailable(bundle.version, _text(error)) from error
                if backend is Backend.ONNX_RUNTIME and lacks_backend(error):
                    continue
                raise UnservableBundle(
                    "model.onnx", f"Triton refuses it: {_text(error)}"
                ) from error
            self._backend = backend
            return

    async def run(self, bundle: Bundle, rows: Rows) -> Tensors:
        """The outputs of one inference.

        Raises:
            grpc.aio.AioRpcError: Triton's refusal.
            ModelFailed: Triton answered with something else than its configuration says.
        """
        request = infer_request(bundle, rows)
        response = await self._infer(request, timeout=_RUN_TIMEOUT_S)
        try:
            outputs = {
                output.name: decoded(output.datatype, tuple(output.shape), raw)
                for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
            }
        except (ValueError, KeyError) as error:
            raise ModelFailed(bundle.version, f"unreadable output: {error}") from error
        # Under numpy 2 Triton 2.51's stub answers OK with empty outputs.
        if any(len(outputs.get(name, ())) != rows.count for name in bundle.signature.output_names):
            raise ModelFailed(bundle.version, "an output lacks rows")
        return outputs

    async def drop(self, bundle: Bundle) -> None:
        """Unload `bundle`; a server that is away has nothing loaded."""
        request = pb.RepositoryModelUnloadRequest(model_name=model_name(bundle))
        try:
            await self._stub.RepositoryModelUnload(request, timeout=_UNLOAD_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            log.warning("triton.unload_failed", version=bundle.version, error=_text(error))

    async def close(self) -> None:
        """Close the channel; every model must be unloaded."""
        await self._channel.close()


class TritonModel:
    """A version on Triton, with its batcher and its supervisor."""

    def __init__(self, runtime: TritonRuntime, bundle: Bundle, limits: BatchLimits) -> None:
        self._runtime = runtime
        self._bundle = bundle
        self._batcher = MicroBatcher(bundle.version, self._run, limits)
        self._own_tasks: list[asyncio.Task[None]] = []
        self._generation = "0"
        self._reviving = asyncio.Lock()

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
        self._own_tasks = [
            tasks.create_task(self._batcher.serve()),
            tasks.create_task(self._supervise(probe_s)),
        ]

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """See `LoadedModel`."""
        return await self._batcher.infer(rows, deadline)

    async def unload(self) -> None:
        """See `LoadedModel`."""
        await self._batcher.drain()
        for task in self._own_tasks:
            task.cancel()
        await self._runtime.drop(self._bundle)

    async def _run(self, rows: Rows) -> Tensors:
        generation = self._generation
        try:
            return await self._runtime.run(self._bundle, rows)
        except grpc.aio.AioRpcError as error:
            if not needs_reload(error):
                raise self._meaning(error) from error
        await self._revive(generation)
        try:
            return await self._runtime.run(self._bundle, rows)
        except grpc.aio.AioRpcError as error:
            raise self._meaning(error) from error

    async def _revive(self, failed_generation: str) -> None:
        """Load the model again unless another run has done so meanwhile."""
        async with self._reviving:
            if self._generation != failed_generation:
                return
            log.warning("triton.reviving", version=self._bundle.version)
            generation = uuid.uuid4().hex
            await self._runtime.push(self._bundle, generation)
            self._generation = generation

    async def _supervise(self, probe_s: float) -> None:
        """Find a crashed stub or an emptied server before a caller does."""
        sample = sample_rows(self._bundle.signature, 1)
        while True:
            await asyncio.sleep(probe_s)
            if self.statistics.last_run_ms > (time.time() - probe_s) * 1000:
                continue
            try:
                await self._batcher.infer(sample, None)
            except ServiceError as error:
                log.warning(
                    "triton.probe_failed", version=self._bundle.version, reason=error.reason
                )

    def _meaning(self, error: grpc.aio.AioRpcError) -> ServiceError:
        if is_away(error) or needs_reload(error):
            return ModelUnavailable(self._bundle.version, _text(error))
        return ModelFailed(self._bundle.version, _text(error))


def _text(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
