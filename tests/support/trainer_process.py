"""A trainer as a process of its own, and the workers that it has forked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support.processes import ServerProcess, free_ports, interpreter_environment

_FORK_SERVER = "multiprocessing.forkserver"


def fork_servers_of(pid: int) -> list[psutil.Process]:
    """What a trainer's workers are forked from: one process, once it has started."""
    children = psutil.Process(pid).children()
    return [child for child in children if _FORK_SERVER in " ".join(_cmdline(child))]


def workers_of(pid: int) -> list[psutil.Process]:
    """The forked workers of a trainer: children of its fork server, of no other child."""
    return [worker for server in fork_servers_of(pid) for worker in server.children()]


class TrainerProcess:
    """A trainer as a process of its own, on one port and data through its restarts.

    Args:
        folder: Gets its data and its log.
        settings: By their names, such as `registry_address`.
        cpus: That it and all it starts may run on, such as `1-3`; empty for every one.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], cpus: str = "") -> None:
        self._folder = folder
        self._confined = ["taskset", "--cpu-list", cpus] if cpus else []
        (self._port,) = free_ports(1)
        own = {
            "listen": self.address,
            "metrics_listen": "127.0.0.1:0",
            "data_dir": str(folder / "trainer"),
        }
        self._environment = {
            **interpreter_environment(),
            **{f"ROUNDHOUSE_TRAINER_{k.upper()}": v for k, v in {**own, **settings}.items()},
        }
        self._processes = [self._start()]

    @property
    def address(self) -> str:
        """`host:port` of its gRPC."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        return self._processes[-1].pid

    def kill(self) -> list[psutil.Process]:
        """Crash the trainer alone; gives the workers that it leaves behind."""
        orphans = workers_of(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        return orphans

    def restart(self) -> None:
        """Bring it back after `kill` or `stop`."""
        self._processes.append(self._start())

    def stop(self) -> None:
        """End it in its own time, and whatever it has left behind."""
        for process in reversed(self._processes):
            process.stop()

    def _start(self) -> ServerProcess:
        process = ServerProcess(
            [*self._confined, sys.executable, "-m", "services.trainer"],
            log=self._folder / "trainer.log",
            environment=self._environment,
        )
        process.wait_until_ready(lambda: True, ports=[self._port])
        return process


def _cmdline(process: psutil.Process) -> list[str]:
    """How it was started; nothing if it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
