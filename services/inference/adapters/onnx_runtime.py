"""ONNX Runtime in this process: light runs on the event loop, heavy ones beside it."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnxruntime

from services.inference.adapters.batching import BatchLimits, MicroBatcher
from services.inference.core.errors import ModelFailed, UnservableBundle
from services.inference.core.ports import Bundle, RunStatistics
from services.inference.core.rows import Rows, Tensors
from services.inference.core.signature import DTYPES, Datatype, Signature

_ONNX_TYPES: Final[Mapping[Datatype, str]] = {
    **{datatype: f"tensor({dtype.name})" for datatype, dtype in DTYPES.items()},
    Datatype.FP32: "tensor(float)",
    Datatype.FP64: "tensor(double)",
    Datatype.BYTES: "tensor(string)",
}


_LIGHT_RUN_NS: Final = 500_000
"""What the event loop may be held up; a thread's round trip costs it a fifth of that anyway."""
_SMOOTHING: Final = 0.2


class _RunCosts:
    """CPU time of a model's runs by their size, each size up to twice the one below."""

    def __init__(self) -> None:
        self._ns: dict[int, float] = {}

    def is_light(self, rows: int) -> bool:
        """Whether a run of so many rows was cheap enough for the event loop so far.

        Unknown sizes are not.
        """
        return self._ns.get(rows.bit_length(), _LIGHT_RUN_NS) < _LIGHT_RUN_NS

    def learn(self, rows: int, took_ns: int) -> None:
        """Take a run into account."""
        size = rows.bit_length()
        known_ns = self._ns.get(size, took_ns)
        self._ns[size] = known_ns + _SMOOTHING * (took_ns - known_ns)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session, and what opening it took of this process's memory."""

    session: onnxruntime.InferenceSession
    memory_bytes: int


class OnnxModel:
    """A session, its batcher and the task that serves it."""

    def __init__(
        self,
        bundle: Bundle,
        opened: _Opened,
        threads: ThreadPoolExecutor,
        limits: BatchLimits,
    ) -> None:
        self._version = bundle.version
        self._signature = bundle.signature
        self._session = opened.session
        self._memory_bytes = opened.memory_bytes
        self._costs = _RunCosts()
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

    @property
    def memory_bytes(self) -> int:
        """See `LoadedModel`. The model's file at least; loads beside each other share theirs."""
        return self._memory_bytes

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

    async def _run(self, rows: Rows, _: float | None) -> Tensors:
        if self._costs.is_light(rows.count):
            return self._run_blocking(rows)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run_blocking, rows)

    def _run_blocking(self, rows: Rows) -> Tensors:
        started_ns = time.thread_time_ns()
        try:
            arrays = self._session.run(self._outputs, rows.feeds(self._signature))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class.
            raise ModelFailed(self._version, str(error)) from error
        # Its one thread is this one, and time on a busy machine's queue is not the model's.
        self._costs.learn(rows.count, time.thread_time_ns() - started_ns)
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
        opened = await asyncio.to_thread(_open, bundle)
        model = OnnxModel(bundle, opened, self._threads, self._limits)
        model.start(self._tasks)
        return model

    def close(self) -> None:
        """Stop the threads; every model must be unloaded."""
        self._threads.shutdown()


def _open(bundle: Bundle) -> _Opened:
    path = bundle.folder / "model.onnx"
    before_bytes = _resident_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no base class.
        raise UnservableBundle("model.onnx", f"can't be loaded: {error}") from error
    _check_types(bundle.signature, session)
    grown_bytes = _resident_bytes() - before_bytes
    return _Opened(session, max(grown_bytes, path.stat().st_size))


def _resident_bytes() -> int:
    """Memory of this process; see proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


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
