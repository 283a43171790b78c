"""ONNX Runtime in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import onnxruntime

from services.inference.adapters.batching import BatchLimits, MicroBatcher
from services.inference.core.errors import ModelFailed, UnservableBundle
from services.inference.core.ports import Bundle, RunStatistics
from services.inference.core.rows import Rows, Tensors
from services.inference.core.signature import Datatype, Signature

_ONNX_TYPES: Final[Mapping[Datatype, str]] = {
    Datatype.FP32: "tensor(float)",
    Datatype.INT64: "tensor(int64)",
    Datatype.BYTES: "tensor(string)",
}


class OnnxModel:
    """A session, its batcher and the task that serves it."""

    def __init__(
        self,
        bundle: Bundle,
        session: onnxruntime.InferenceSession,
        threads: ThreadPoolExecutor,
        limits: BatchLimits,
    ) -> None:
        self._version = bundle.version
        self._signature = bundle.signature
        self._session = session
        self._threads = threads
        self._outputs = list(bundle.signature.output_names)
        self._batcher = MicroBatcher(bundle.version, self._run, limits)
        self._task: asyncio.Task[None] | None = None

    @property
    def statistics(self) -> RunStatistics:
        """See `LoadedModel`."""
        return self._batcher.statistics

    @property
    def waiting_rows(self) -> int:
        """See `LoadedModel`."""
        return self._batcher.waiting_rows

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Serve callers in a task of `tasks`."""
        self._task = tasks.create_task(self._batcher.serve())

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """See `LoadedModel`."""
        return await self._batcher.infer(rows, deadline)

    async def unload(self) -> None:
        """See `LoadedModel`."""
        await self._batcher.drain()
        if self._task is not None:
            self._task.cancel()

    async def _run(self, rows: Rows) -> Tensors:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run_blocking, rows)

    def _run_blocking(self, rows: Rows) -> Tensors:
        try:
            arrays = self._session.run(self._outputs, rows.feeds(self._signature))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class.
            raise ModelFailed(self._version, str(error)) from error
        return dict(zip(self._outputs, arrays, strict=True))


class OnnxRuntime:
    """Runs models on this machine's processors, off the event loop.

    Args:
        tasks: Holds one task per loaded model.
        limits: How callers are joined; `concurrency` is also the number of threads.
    """

    platform: Final = "onnxruntime_onnx"

    def __init__(self, tasks: asyncio.TaskGroup, limits: BatchLimits) -> None:
        self._tasks = tasks
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="onnx")

    async def load(self, bundle: Bundle) -> OnnxModel:
        """See `ModelRuntime`."""
        session = await asyncio.to_thread(_open, bundle)
        model = OnnxModel(bundle, session, self._threads, self._limits)
        model.start(self._tasks)
        return model

    def close(self) -> None:
        """Stop the threads; every model must be unloaded."""
        self._threads.shutdown()


def _open(bundle: Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(bundle.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no base class.
        raise UnservableBundle("model.onnx", f"can't be loaded: {error}") from error
    _check_types(bundle.signature, session)
    return session


def _check_types(signature: Signature, session: onnxruntime.InferenceSession) -> None:
    inputs = {node.name: node.type for node in session.get_inputs()}
    outputs = {node.name: node.type for node in session.get_outputs()}
    promised = {spec.name: _ONNX_TYPES[spec.datatype] for spec in signature.inputs}
    if inputs != promised:
        raise UnservableBundle("model.onnx", f"takes {inputs}; its signature says {promised}")
    for spec in signature.outputs:
        if outputs.get(spec.name) != _ONNX_TYPES[spec.datatype]:
            raise UnservableBundle(
                "model.onnx",
                f"gives {spec.name!r} as {outputs.get(spec.name)}; "
                f"its signature says {_ONNX_TYPES[spec.datatype]}",
            )
