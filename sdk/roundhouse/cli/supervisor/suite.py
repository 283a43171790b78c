"""The four services as four processes with the embedded defaults."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from roundhouse.cli.supervisor.health import is_serving
from roundhouse.cli.supervisor.process import ProcessExit, ProcessSpec, SupervisedProcess
from roundhouse.client import SERVICES, Addresses, ServiceName

HOST: Final = "127.0.0.1"
FIRST_PORT: Final = 7001
METRICS_OFFSET: Final = 100
DASHBOARD_OFFSET: Final = 200
DASHBOARD: Final = "monitor"
"""The service that serves the dashboard."""

START_TIMEOUT_S: Final = 90.0
ADDRESSES_FILE: Final = "addresses.json"

_LOCK_FILE: Final = "supervisor.lock"
_LOG_TAIL_LINES: Final = 8
_POLL_S: Final = 0.1
_HOPELESS_AFTER: Final = 4


class SuiteError(Exception):
    """The suite can't be started; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServicePorts:
    """Where one service listens on the loopback interface.

    Attributes:
        dashboard: None where the service has none.
    """

    grpc: int
    metrics: int
    dashboard: int | None = None

    @property
    def all(self) -> tuple[int, ...]:
        """Every port of the service."""
        ports = (self.grpc, self.metrics, self.dashboard)
        return tuple(port for port in ports if port is not None)


Ports = Mapping[ServiceName, ServicePorts]


def given_ports(first: int = FIRST_PORT) -> Ports:
    """Four ports in a row from `first` on, their metrics 100 and the dashboard 200 above.

    Raises:
        SuiteError: One of them is taken.
    """
    ports = {
        service: ServicePorts(
            first + i,
            first + i + METRICS_OFFSET,
            first + i + DASHBOARD_OFFSET if service == DASHBOARD else None,
        )
        for i, service in enumerate(SERVICES)
    }
    taken = [port for own in ports.values() for port in own.all if not _is_free(port)]
    if taken:
        raise SuiteError(
            f"Port {', '.join(map(str, taken))} is in use; stop what uses it, "
            "or choose others with --first-port or --free-ports."
        )
    return ports


def free_ports() -> Ports:
    """Ports that nothing uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3 * len(SERVICES))]
        for each in sockets:
            each.bind((HOST, 0))
        numbers = [each.getsockname()[1] for each in sockets]
    triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return {
        service: ServicePorts(grpc, metrics, dashboard if service == DASHBOARD else None)
        for service, (grpc, metrics, dashboard) in zip(SERVICES, triples, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Suite:
    """Four services that are kept alive."""

    addresses: Addresses
    processes: Mapping[ServiceName, SupervisedProcess]
    data_dir: Path

    async def wait_serving(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Waits until all four answer SERVING.

        Raises:
            SuiteError: One does not in time, or dies again and again.
        """
        deadline = time.monotonic() + timeout_s
        await asyncio.gather(*(self._wait_one(service, deadline) for service in SERVICES))

    async def _wait_one(self, service: ServiceName, deadline: float) -> None:
        while not await is_serving(self.addresses.of(service)):
            hopeless = self.processes[service].restarts >= _HOPELESS_AFTER
            if hopeless or time.monotonic() > deadline:
                raise SuiteError(self._why_not(service))
            await asyncio.sleep(_POLL_S)

    def _why_not(self, service: ServiceName) -> str:
        log_file = self.processes[service].spec.log_file
        lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
        tail = "\n".join(f"  {line}" for line in lines[-_LOG_TAIL_LINES:])
        return f"The {service} does not start. The end of its log, {log_file}:\n{tail}"


@asynccontextmanager
async def running_suite(
    data_dir: Path,
    ports: Ports,
    *,
    on_exit: Callable[[ProcessExit], None],
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Suite]:
    """Starts the four services and ends them with the block, however it ends.

    Args:
        data_dir: Absolute. Holds each service's data, their logs, and where they are.
        ports: Where they listen.
        on_exit: Told of every child that died and will be started again.
        settings: More environment variables for the services.

    Raises:
        SuiteError: Another suite uses `data_dir`.
    """
    (data_dir / "logs").mkdir(parents=True, exist_ok=True)
    addresses = Addresses(**{name: f"{HOST}:{pair.grpc}" for name, pair in ports.items()})
    with _locked(data_dir):
        processes = {
            name: SupervisedProcess(
                _spec(name, data_dir, ports, addresses, settings or {}), on_exit=on_exit
            )
            for name in SERVICES
        }
        (data_dir / ADDRESSES_FILE).write_text(json.dumps(asdict(addresses), indent=2) + "\n")
        tasks = [asyncio.create_task(process.run()) for process in processes.values()]
        try:
            yield Suite(addresses, processes, data_dir)
        finally:
            (data_dir / ADDRESSES_FILE).unlink(missing_ok=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _spec(
    service: ServiceName,
    data_dir: Path,
    ports: Ports,
    addresses: Addresses,
    settings: Mapping[str, str],
) -> ProcessSpec:
    prefix = f"ROUNDHOUSE_{service.upper()}_"
    own = {
        "LISTEN": addresses.of(service),
        "METRICS_LISTEN": f"{HOST}:{ports[service].metrics}",
        "DATA_DIR": str(data_dir / service),
    }
    if ports[service].dashboard is not None:
        own["DASHBOARD_LISTEN"] = f"{HOST}:{ports[service].dashboard}"
    peers = {f"{peer.upper()}_ADDRESS": addresses.of(peer) for peer in _PEERS[service]}
    environment = {f"{prefix}{name}": value for name, value in {**own, **peers}.items()}
    return ProcessSpec(
        service=service,
        module=f"services.{service}",
        env={**os.environ, **environment, **settings},
        log_file=data_dir / "logs" / f"{service}.log",
    )


_PEERS: Final[Mapping[ServiceName, tuple[ServiceName, ...]]] = {
    "registry": (),
    "trainer": ("registry",),
    "inference": ("registry", "monitor"),
    "monitor": ("registry", "trainer", "inference"),
}
"""Which services each one calls."""


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    with (data_dir / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SuiteError(
                f"Another suite runs in {data_dir}; stop it, or choose another --data-dir."
            ) from None
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
