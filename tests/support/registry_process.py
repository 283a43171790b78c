"""A registry as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from tests.support.processes import ServerProcess, free_ports, interpreter_environment
from tests.support.registry_api import RegistryCaller


class RegistryProcess:
    """A registry as a process of its own, on one port through its restarts.

    Args:
        folder: Gets its data and its log.
        settings: Further settings by their names, such as `database_url`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = settings or {}
        self._port, self._metrics_port = free_ports(2)
        self._process = self._start()

    @property
    def address(self) -> str:
        """`host:port` of its gRPC."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        return self._process.pid

    def kill_and_restart(self) -> None:
        """Crash it and bring it back."""
        self._process.kill()
        self._process = self._start()

    def stop(self) -> None:
        """End it in its own time."""
        self._process.stop()

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[RegistryCaller]:
        """A caller with a connection of its own."""
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.address, own_connection) as channel:
            await channel.channel_ready()
            yield RegistryCaller(channel)

    def _start(self) -> ServerProcess:
        settings = {
            "listen": self.address,
            "metrics_listen": f"127.0.0.1:{self._metrics_port}",
            "data_dir": str(self._folder / "data"),
            **self._settings,
        }
        process = ServerProcess(
            [sys.executable, "-m", "services.registry"],
            log=self._folder / "registry.log",
            environment={
                **interpreter_environment(),
                **{f"ROUNDHOUSE_REGISTRY_{k.upper()}": v for k, v in settings.items()},
            },
        )
        process.wait_until_ready(lambda: True, ports=[self._port])
        return process
