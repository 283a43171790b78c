"""Worker processes, forked from a server that has loaded the learning libraries once.

A fork takes .2 s where a fresh interpreter takes 4 s to import torch and scikit-learn.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any, Final

import structlog

from services.trainer.adapters.worker.config import (
    HelperConfig,
    WorkerConfig,
    run_helper,
    run_worker,
)
from services.trainer.adapters.worker.programs import forget_programs

log = structlog.get_logger()

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

HELPER_PAUSE_S: Final = 1.0
"""Between the end of a helper and the start of the one that takes its place."""


class Forked:
    """One process of this machine.

    Args:
        process: Already started.
        thread: Where all calls that may block run, one after the other.
    """

    def __init__(self, process: ForkServerProcess, thread: ThreadPoolExecutor) -> None:
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
        """End it at once."""
        self._process.kill()


class WorkerProcess:
    """One running worker, and the helpers that it is given for as long as somebody waits for it.

    Args:
        name: What it calls itself.
        process: Its own.
        processes: Starts helpers.
        helper: How each is started; None where it has none.
        helpers: How many it has.
    """

    def __init__(
        self,
        name: str,
        process: Forked,
        processes: WorkerProcesses,
        helper: HelperConfig | None,
        helpers: int,
    ) -> None:
        self._name = name
        self._process = process
        self._processes = processes
        self._helper = helper
        self._helpers = helpers

    @property
    def place(self) -> str:
        """Its process id."""
        return self._process.place

    async def wait(self) -> str:
        """Its exit status, once it has ended; negative is the signal that killed it."""
        try:
            async with self._helped():
                return await self._process.wait()
        finally:
            await asyncio.to_thread(forget_programs, self._name)

    def kill(self) -> None:
        """End it at once; nothing it has reported is lost."""
        self._helper = None
        self._process.kill()

    @asynccontextmanager
    async def _helped(self) -> AsyncIterator[None]:
        """Keeps its helpers while the block lasts."""
        if self._helper is None:
            yield
            return
        keeping = [
            asyncio.ensure_future(self._keep_one(self._helper)) for _ in range(self._helpers)
        ]
        try:
            yield
        finally:
            for each in keeping:
                each.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def _keep_one(self, config: HelperConfig) -> None:
        while True:
            try:
                helper = await self._processes.start_helper(config)
                try:
                    cause = await helper.wait()
                finally:
                    helper.kill()
                log.info("helper.ended", worker=config.worker, cause=cause)
            except OSError:  # the machine has no process to give; the worker goes on without
                log.exception("helper.not_started", worker=config.worker)
            await asyncio.sleep(HELPER_PAUSE_S)


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
        if not config.helpers:
            alone = await self._forked(run_worker, config)
            return WorkerProcess(config.worker, alone, self, None, 0)
        # Others of this machine can connect, but lack the key.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            helper = config.helper(f"127.0.0.1:{listener.getsockname()[1]}")
            process = await self._forked(run_worker, config, listener)
        return WorkerProcess(config.worker, process, self, helper, config.helpers)

    async def start_helper(self, config: HelperConfig) -> Forked:
        """A helper of a worker; it connects by itself."""
        return await self._forked(run_helper, config)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown()

    async def _forked(
        self, run: Callable[..., None], config: WorkerConfig | HelperConfig, *further: Any
    ) -> Forked:
        process = self._context.Process(target=run, args=(config, *further), name=config.worker)
        starting = asyncio.get_running_loop().run_in_executor(self._thread, process.start)
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting
            process.kill()
            raise
        return Forked(process, self._thread)
