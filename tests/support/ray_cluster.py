"""A Ray cluster on this machine, whose nodes are processes that can be killed.

Its daemons listen on every interface, whatever address they are given: a token keeps others out.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from tests.support.processes import (
    ServerProcess,
    free_ports,
    interpreter_environment,
    wait_until,
)

_RAY: Final = Path(sys.executable).with_name("ray")
_STORE_BYTES: Final = 80_000_000
"""The least that Ray takes; nothing of ours goes through its store."""

_DRIVER: Final = "services.trainer.adapters.ray.driver"
_WORKER: Final = "services.trainer.adapters.ray.node"


class RayCluster:
    """A head without room for any worker, and nodes that have some.

    Args:
        folder: Gets sessions and logs; its path is short, since sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **interpreter_environment(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A dead node is noticed within two seconds instead of fifteen.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }
        (self._port,) = free_ports(1)
        self._started: list[ServerProcess] = []
        self._nodes: list[ServerProcess] = []

    @property
    def address(self) -> str:
        """`host:port` of its control store."""
        return f"127.0.0.1:{self._port}"

    @property
    def settings(self) -> dict[str, str]:
        """A trainer's, which has it run its workers here."""
        token = self._environment["RAY_AUTH_TOKEN"]
        return {"engine": "ray", "ray_address": self.address, "ray_token": token}

    def start(self) -> None:
        """Start the head and one node, which still comes up when this returns."""
        command = ["--head", f"--port={self._port}", "--num-cpus=0", "--include-dashboard=false"]
        head = self._start([*command, f"--temp-dir={self._folder / 'ray'}"], "head.log")
        head.wait_until_ready(lambda: "Ray runtime started" in head.tail(), ports=[self._port])
        self.add_node()

    def add_node(self) -> None:
        """Start a node with room for one core, once those before it are up; it comes up then."""
        # Two that come up at the same time at one address take each other for themselves.
        for node in self._nodes:
            node.wait_until_ready(lambda node=node: "Ray runtime started" in node.tail(), ports=[])
        command = [f"--address={self.address}", "--num-cpus=1"]
        self._nodes.append(self._start(command, f"node-{len(self._started)}.log"))

    def replace_node(self) -> None:
        """Kill the daemon of the node as the loss of its machine would; start another node."""
        for process in _family(self._nodes.pop()):
            if process.name() == "raylet":
                process.kill()
        self.add_node()

    def replace_node_of(self, process: psutil.Process) -> None:
        """As `replace_node`, of the node that runs `process`."""
        (node,) = (node for node in self._nodes if process in _family(node))
        self._nodes.remove(node)
        self._nodes.append(node)
        self.replace_node()

    def helpers(self) -> list[psutil.Process]:
        """Those of the workers that help another."""
        return [worker for worker in self.workers() if _words(worker)[-1:] == ["helper"]]

    def workers(self) -> list[psutil.Process]:
        """The trainer's workers that run on nodes, the processes of trials not among them."""
        found = [process for node in self._nodes for process in _family(node)]
        return [process for process in found if _WORKER in _words(process)]

    def close(self) -> None:
        """End all of it."""
        for process in reversed(self._started):
            _end(process)

    def _start(self, command: list[str], log: str) -> ServerProcess:
        process = ServerProcess(
            [
                _RAY,
                "start",
                "--block",
                "--node-ip-address=127.0.0.1",
                f"--object-store-memory={_STORE_BYTES}",
                "--min-worker-port=0",
                "--max-worker-port=0",
                "--disable-usage-stats",
                *command,
            ],
            log=self._folder / log,
            environment=self._environment,
        )
        self._started.append(process)
        return process


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster that is yet to be started."""
    folder = Path(tempfile.mkdtemp(prefix="rh-ray-"))
    cluster = RayCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def driver_of(pid: int) -> list[psutil.Process]:
    """The driver of a trainer, where one runs now."""
    return [child for child in psutil.Process(pid).children() if _DRIVER in _words(child)]


def parents_of(workers: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The processes that Ray gave to workers."""
    parents = [worker.parent() for worker in workers]
    return [parent for parent in parents if parent is not None]


def _end(process: ServerProcess) -> None:
    """End a node with all that it has started, some of it in sessions of its own."""
    family = _family(process)
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: not any(each.is_running() for each in family), what="end of a Ray node")


def _family(process: ServerProcess) -> list[psutil.Process]:
    """What a node has started and runs still."""
    if not process.is_running:
        return []
    return psutil.Process(process.pid).children(recursive=True)


def _words(process: psutil.Process) -> list[str]:
    """How it was started; nothing if it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
