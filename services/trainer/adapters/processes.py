"""Worker processes, forked from a server that has loaded the learning libraries once.

A fork takes .2 s where a fresh interpreter takes 4 s to import torch and scikit-learn.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Final

from services.trainer.adapters.worker.config import WorkerConfig, run_worker

PRELOADED: Final = (
    "torch",
    # The first optimizer imports it, which takes 1.6 s.
    "torch._dynamo",
    "lightgbm",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "skl2onnx",
    "optuna",
    "services.trainer.adapters.worker.process",
)


class WorkerProcess:
    """One running worker.

    Args:
        process: Already started.
        thread: Where all calls that may block run, one after the other.
    """

    def __init__(self, process: ForkServerProcess, thread: Executor) -> None:
        self._process = process
        self._thread = thread

    @property
    def place(self) -> str:
        """Its process id."""
        return f"process {self._process.pid}"

    async def wait(self) -> str:
        """Its exit status, once it has ended; negative is the signal that killed it."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        await loop.run_in_executor(self._thread, self._process.join)
        return f"its process ended with status {self._process.exitcode}"

    def kill(self) -> None:
        """End it at once; nothing it has reported is lost."""
        self._process.kill()


class WorkerProcesses:
    """Starts workers on this machine."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        # multiprocessing reaps every child whenever it starts one, so two threads would race.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workers")

    @property
    def ready(self) -> bool:
        """This machine always is."""
        return True

    def warm_up(self) -> None:
        """Start loading the learning libraries, in the background."""
        # Threads that spin while they wait make two trainings on two cores ten times slower
        # (LightGBM: 23.5 s instead of 2.3 s); read when the libraries load, so it must be
        # in the environment that the fork server inherits.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        forkserver.ensure_running()

    async def start(self, config: WorkerConfig) -> WorkerProcess:
        """A worker that runs one attempt; waits until the learning libraries have loaded."""
        process = self._context.Process(target=run_worker, args=(config,), name=config.worker)
        starting = asyncio.get_running_loop().run_in_executor(self._thread, process.start)
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting
            process.kill()
            raise
        return WorkerProcess(process, self._thread)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown()
