"""The four services as four processes on free ports, to be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from roundhouse.cli.supervisor import child

from tests.support.processes import free_ports, interpreter_environment

SERVICES = ("registry", "trainer", "inference", "monitor")

_PEERS = {
    "registry": (),
    "trainer": ("registry",),
    "inference": ("registry", "monitor"),
    "monitor": ("registry", "trainer", "inference"),
}
_POLL_S = 0.05
_STOP_S = 15.0
_LOG_TAIL_BYTES = 4000


class ServiceFailed(RuntimeError):
    """A service ended by itself, or was not serving in time; the message ends with its log."""


class Suite:
    """Four services that share nothing but their addresses.

    Start and kill them from the main thread: the kernel ends them with the thread that
    started them.

    Args:
        folder: Gets a data directory, a log and a trace file per service.
        settings: By service, further settings by their names, such as `triton_address`.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self.folder = folder
        self._settings = settings or {}
        ports = free_ports(2 * len(SERVICES))
        self._ports = dict(zip(SERVICES, ports, strict=False))
        self._metrics_ports = dict(zip(SERVICES, ports[len(SERVICES) :], strict=True))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._groups: list[int] = []

    def address(self, service: str) -> str:
        """`host:port` of its gRPC."""
        return f"127.0.0.1:{self._ports[service]}"

    def data_dir(self, service: str) -> Path:
        """What it keeps."""
        return self.folder / service

    def spans(self, service: str) -> list[tuple[str, str]]:
        """Name and trace id of each span that it and its children have recorded."""
        path = self._trace_file(service)
        spans = map(json.loads, path.read_text().splitlines() if path.exists() else [])
        return [(span["name"], span["context"]["trace_id"].removeprefix("0x")) for span in spans]

    def trace_ids(self, service: str) -> set[str]:
        """The traces that it has recorded a span of."""
        return {trace_id for _, trace_id in self.spans(service)}

    def metrics(self, service: str) -> dict[str, float]:
        """What it tells Prometheus: value by sample with its labels, such as `rows{kind="a"}`."""
        url = f"http://127.0.0.1:{self._metrics_ports[service]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {
            sample.name
            + ("{" + ",".join(f'{k}="{v}"' for k, v in sample.labels.items()) + "}")
            * bool(sample.labels): sample.value
            for family in families
            for sample in family.samples
        }

    def start(self, service: str) -> None:
        """Start it; it need not have stopped cleanly before."""
        with self._log(service).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-S", child.__file__, str(os.getpid()), f"services.{service}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=self._environment(service),
                start_new_session=True,
            )
        self._processes[service] = process
        self._groups.append(process.pid)

    def kill(self, service: str) -> None:
        """SIGKILL the service's own process, as a crash would; its workers are on their own."""
        self._processes[service].kill()
        self._processes[service].wait()

    async def serves(self, service: str) -> bool:
        """Whether it reports SERVING now."""
        async with grpc.aio.insecure_channel(self.address(service)) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=1.0
                )
            except grpc.aio.AioRpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    async def wait_until_serving(self, *services: str, timeout_s: float = 60.0) -> None:
        """Return once all of them, or those named, report SERVING.

        Raises:
            ServiceFailed: One ended, or did not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        for service in services or SERVICES:
            while not await self.serves(service):
                code = self._processes[service].poll()
                if code is not None and code != -signal.SIGKILL:
                    raise ServiceFailed(f"{service} ended with {code}:\n{self.log_tail(service)}")
                if time.monotonic() > deadline:
                    raise ServiceFailed(f"{service} does not serve:\n{self.log_tail(service)}")
                await asyncio.sleep(_POLL_S)

    def stop(self) -> list[str]:
        """SIGTERM all, then leave no process behind; gives those that had to be killed."""
        running = [name for name in reversed(SERVICES) if name in self._processes]
        for service in running:
            self._processes[service].terminate()
        stubborn = []
        for service in running:
            try:
                self._processes[service].wait(_STOP_S)
            except subprocess.TimeoutExpired:
                stubborn.append(service)
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        return stubborn

    def log_tail(self, service: str) -> str:
        """The end of its log."""
        return self._log(service).read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def _log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def _trace_file(self, service: str) -> Path:
        return self.folder / f"{service}.trace.jsonl"

    def _environment(self, service: str) -> dict[str, str]:
        settings = {
            **({"dashboard_listen": ""} if service == "monitor" else {}),
            "listen": self.address(service),
            "metrics_listen": f"127.0.0.1:{self._metrics_ports[service]}",
            "data_dir": str(self.data_dir(service)),
            "trace_file": str(self._trace_file(service)),
            **{f"{peer}_address": self.address(peer) for peer in _PEERS[service]},
            **self._settings.get(service, {}),
        }
        prefix = f"ROUNDHOUSE_{service}_".upper()
        return {
            "HOME": str(self.folder),
            **interpreter_environment(),
            **{prefix + name.upper(): value for name, value in settings.items()},
        }


@asynccontextmanager
async def running_suite(
    folder: Path, *, settings: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[Suite]:
    """All four services, serving; stopped at the end.

    Raises:
        ServiceFailed: One did not start, or one had to be killed at the end of a block that
            did not fail itself.
    """
    suite = Suite(folder, settings=settings)
    try:
        for service in SERVICES:
            suite.start(service)
        await suite.wait_until_serving()
        yield suite
    except BaseException:
        suite.stop()
        raise
    stubborn = suite.stop()
    if stubborn:
        raise ServiceFailed(f"SIGTERM did not stop {', '.join(stubborn)}")
