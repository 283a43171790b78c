"""The trainer's side: places workers through a driver that comes back when it is lost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from services.trainer.adapters.metrics import LOST_DRIVERS
from services.trainer.adapters.worker.config import WorkerConfig, config_to_json

log = structlog.get_logger()

RECONNECT_PAUSE_S: Final = 1.0
"""Between the end of a driver and the next one."""

STOP_PATIENCE_S: Final = 5.0
"""What a driver gets to take its workers off the cluster."""


class RayWorker:
    """A worker that Ray has been asked to place.

    Args:
        name: Its name.
        engine: Has the cluster end it.
    """

    def __init__(self, name: str, engine: RayEngine) -> None:
        self._name = name
        self._engine = engine
        self._ended = asyncio.Event()
        self._cause = ""

    @property
    def place(self) -> str:
        """The cluster."""
        return self._engine.address

    async def wait(self) -> str:
        """How it ended, once it has."""
        await self._ended.wait()
        return self._cause

    def kill(self) -> None:
        """End it at once; from now on it counts as ended, whether or not Ray can be heard."""
        self._engine.abandon(self._name)
        self.ended("it was ended")

    def ended(self, cause: str) -> None:
        """Have `wait` return."""
        if not self._ended.is_set():
            self._cause = cause
            self._ended.set()


class RayEngine:
    """Places workers on a Ray cluster.

    Args:
        address: `host:port` of the cluster's control store; this machine is one of its nodes.
        token: What the cluster wants to see of who calls; empty where it wants nothing.
    """

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._token = token
        self._workers: dict[str, RayWorker] = {}
        self._driver: Process | None = None
        self._ready = False

    @property
    def ready(self) -> bool:
        """Whether a driver is connected to the cluster."""
        return self._ready

    async def start(self, config: WorkerConfig) -> RayWorker:
        """A worker that runs as soon as a node has room for it."""
        worker = RayWorker(config.worker, self)
        if not self._ready:
            worker.ended("the Ray cluster is away")
            return worker
        self._workers[config.worker] = worker
        self._tell({"start": config.worker, "config": config_to_json(config)})
        return worker

    def abandon(self, worker: str) -> None:
        """Have the cluster end a worker, or not begin it; hears no more of it."""
        if self._workers.pop(worker, None) is not None:
            self._tell({"kill": worker})

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keeps a driver while the block lasts; its workers end with it."""
        keeping = asyncio.ensure_future(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            try:
                status = await self._drive()
                log.warning("ray.driver_ended", address=self.address, status=status)
            except Exception:  # without a driver no job goes on
                log.exception("ray.driver_failed", address=self.address)
            LOST_DRIVERS.inc()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _drive(self) -> int:
        """Run one driver to its end; gives its exit status."""
        driver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.trainer.adapters.ray.driver", self.address),
            stdin=PIPE,
            stdout=PIPE,
            env=self._environment(),
        )
        self._driver = driver
        try:
            assert driver.stdout is not None
            async for line in driver.stdout:
                self._hear(json.loads(line))
            return await driver.wait()
        finally:
            self._ready = False
            self._driver = None
            for worker in self._workers.values():
                worker.ended("its Ray driver is gone")
            self._workers.clear()
            await _stopped(driver)

    def _hear(self, message: Mapping[str, str]) -> None:
        match message:
            case {"connected": nodes}:
                log.info("ray.connected", address=self.address, nodes=nodes)
                self._ready = True
            case {"ended": name, "cause": cause}:
                worker = self._workers.pop(name, None)
                if worker is not None:
                    worker.ended(cause)

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._driver is not None and self._driver.stdin is not None:
            # A driver that is gone takes no more; then every worker has ended.
            self._driver.stdin.write(json.dumps(message).encode() + b"\n")

    def _environment(self) -> dict[str, str]:
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token} if self._token else {}
        return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **own}


async def _stopped(driver: Process) -> None:
    """End a driver: by the end of its input, which it takes its workers off the cluster at."""
    if driver.returncode is not None:
        return
    assert driver.stdin is not None
    driver.stdin.close()
    try:
        async with asyncio.timeout(STOP_PATIENCE_S):
            await driver.wait()
    except TimeoutError:
        driver.kill()
        await driver.wait()
