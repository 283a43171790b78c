"""What goes wrong around an inference service, done to a real one; each gives what it saw."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import struct
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import numpy as np
import psutil
from tritonclient.grpc import service_pb2_grpc as oip_grpc

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.core.ports import Bundle
from services.inference.core.rows import Rows
from services.inference.core.signature import parse_signature
from tests.support.bundles import tiny_files, write_bundle
from tests.support.eventually import eventually
from tests.support.fake_monitor import FakeMonitor, fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.inference_process import InferenceProcess
from tests.support.processes import free_ports, living_children
from tests.support.triton import TritonServer
from tests.system.malformed import PREFACE, frame, good_request, header_block

_LONG_S: Final = 120.0
_ROWS: Final = 500
_SETTINGS_FRAME: Final = 4
_MAX_BYTES_OF_A_CONNECTION: Final = 64 << 10
_OBSERVATIONS: Final = "roundhouse_inference_observations_"


@dataclass
class Seen:
    """What a fault did.

    Attributes:
        figures: For people.
        violations: What should not have been.
    """

    figures: str = ""
    violations: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a violation unless something holds."""
        if not holds:
            self.violations.append(otherwise)


@dataclass
class World:
    """A service in a process of its own that answers at one endpoint."""

    process: InferenceProcess
    caller: InferenceCaller
    metrics_url: str
    monitor: FakeMonitor
    channel: grpc.aio.Channel

    async def metrics(self) -> dict[str, float]:
        """The observations' metrics, without what their names begin with."""
        text = await asyncio.to_thread(_fetched, self.metrics_url)
        lines = [line.split() for line in text.splitlines() if line.startswith(_OBSERVATIONS)]
        return {name.removeprefix(_OBSERVATIONS): float(value) for name, value in lines}

    async def answer_rows(self) -> None:
        """Have one large request answered."""
        stub = oip_grpc.GRPCInferenceServiceStub(self.channel)
        await stub.ModelInfer(good_request("delays", _ROWS), timeout=_LONG_S)


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@asynccontextmanager
async def _world(folder: Path, monitor: FakeMonitor, **settings: str) -> AsyncIterator[World]:
    """`monitor` need not run."""
    (metrics_port,) = free_ports(1)
    metrics = f"127.0.0.1:{metrics_port}"
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(registry_with_models(folder / "registry"))
        process = InferenceProcess(
            folder, registry.address, monitor.address, metrics_listen=metrics, **settings
        )
        process.start()
        stack.push_async_callback(asyncio.to_thread, process.end, signal.SIGKILL)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(process.address))
        async with asyncio.timeout(60):
            await channel.channel_ready()
        caller = InferenceCaller(channel, process.address)
        await caller.create_endpoint(await registry.approved(), "delays")
        yield World(process, caller, f"http://{metrics}/metrics", monitor, channel)


async def monitor_away(folder: Path, seconds: float) -> Seen:
    """The monitor stays away for `seconds` and until the allowance is used up, and is back."""
    monitor = FakeMonitor()
    (port,) = free_ports(1)
    monitor.address = f"127.0.0.1:{port}"
    async with _world(folder, monitor, observation_limit_bytes=str(1 << 20)) as world:
        return await _spilled(world, seconds)


async def disk_full(folder: Path, seconds: float) -> Seen:
    """The disk of the observations is full before the allowance is, while the monitor is away."""
    monitor = FakeMonitor()
    (port,) = free_ports(1)
    monitor.address = f"127.0.0.1:{port}"
    spill = folder / "data" / "observations"
    spill.mkdir(parents=True)
    with ExitStack() as stack:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "spill", str(spill)]
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        if mounted:
            stack.callback(subprocess.run, ["umount", "--lazy", str(spill)], check=True)
        async with _world(folder, monitor) as world:
            if not mounted:  # without the right to mount, no file may grow
                limit = 256 << 10
                resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
            seen = await _spilled(world, seconds, needs_warning=mounted)
    seen.figures += ", on a tmpfs of 1 MiB" if mounted else ", with files of 256 KiB at most"
    return seen


async def _spilled(world: World, seconds: float, *, needs_warning: bool = True) -> Seen:
    """Answer until rows are dropped, then let the monitor come back."""
    seen = Seen()
    ends, warned = time.monotonic() + seconds, False
    answered = 0
    counts = await world.metrics()
    while time.monotonic() < ends or not counts["dropped_total"]:
        await world.answer_rows()
        answered += _ROWS
        counts = await world.metrics()
        warned = warned or (counts["filling"] == 1 and not counts["dropped_total"])
    seen.expect(warned or not needs_warning, "nobody was told before rows were dropped")
    seen.expect(counts["pending_bytes"] <= counts["limit_bytes"], "the allowance was exceeded")
    async with fake_monitor(world.monitor.address, world.monitor) as monitor:
        async with asyncio.timeout(_LONG_S):
            while (counts := await world.metrics())["pending"]:
                await asyncio.sleep(0.1)
        delivered = len(monitor.prediction_ids)
        seen.expect(delivered == len(set(monitor.prediction_ids)), "a row came twice")
    dropped = int(counts["dropped_total"])
    seen.expect(
        answered == counts["observed_total"] == delivered + dropped,
        f"{answered} answered, {delivered} delivered and {dropped} dropped do not add up",
    )
    seen.expect(delivered == counts["acknowledged_total"], "the acknowledged ones were not sent")
    seen.figures = f"{answered:,} rows answered = {delivered:,} delivered + {dropped:,} dropped"
    return seen


async def idle_connections(folder: Path, count: int) -> Seen:
    """`count` clients connect and say nothing more."""
    seen = Seen()
    async with fake_monitor() as monitor, _world(folder, monitor) as world:
        process = psutil.Process(world.process.pid)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(world.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        files, memory_bytes = process.num_fds(), process.memory_info().rss
        writers = []
        try:
            for _ in range(count):
                _, writer = await asyncio.open_connection(*world.process.address.split(":"))
                writer.write(PREFACE + frame(_SETTINGS_FRAME, 0, 0, b""))
                writers.append(writer)
            await eventually(lambda: process.num_fds() >= files + count, within_s=_LONG_S)
            for _ in range(100):
                await world.caller.predict()
            each_bytes = (process.memory_info().rss - memory_bytes) // count
        finally:
            for writer in writers:
                writer.transport.abort()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await eventually(lambda: process.num_fds() <= files + 10, within_s=_LONG_S)
        await world.caller.predict()
        seen.expect(each_bytes < _MAX_BYTES_OF_A_CONNECTION, f"{each_bytes} bytes a connection")
        seen.figures = f"{count:,} idle connections took {each_bytes / 1024:.1f} KiB each"
    return seen


async def slow_clients(folder: Path, count: int) -> Seen:
    """`count` clients send a request byte by byte, as many never read their answers."""
    message = good_request("delays", _ROWS).SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    opening = PREFACE + frame(_SETTINGS_FRAME, 0, 0, b"") + frame(1, 4, 1, header_block())
    no_window = PREFACE + frame(_SETTINGS_FRAME, 0, 0, struct.pack(">HI", 4, 0))
    whole = no_window + frame(1, 4, 1, header_block()) + frame(0, 1, 1, body)
    seen = Seen()
    answered = 0
    async with fake_monitor() as monitor, _world(folder, monitor) as world:
        streams = [
            await asyncio.open_connection(*world.process.address.split(":"))
            for _ in range(2 * count)
        ]
        for number, (_, writer) in enumerate(streams):
            writer.write(opening if number % 2 else whole)
        for byte in itertools.islice(frame(0, 0, 1, body), 200):
            for _, writer in streams[1::2]:
                with suppress(ConnectionError):
                    writer.write(bytes((byte,)))
            await world.caller.predict()
            answered += 1
        for _, writer in streams:
            writer.transport.abort()
        await world.caller.predict()
    seen.expect(answered == 200, f"only {answered} good requests were answered")
    seen.figures = f"{2 * count:,} slow clients; {answered} good requests answered beside them"
    return seen


async def registry_gone(folder: Path) -> Seen:
    """The registry, and with it the artifact store, is gone while the service runs and starts."""
    seen = Seen()
    async with AsyncExitStack() as stack:
        monitor = await stack.enter_async_context(fake_monitor())
        async with registry_with_models(folder / "registry") as registry:
            process = InferenceProcess(folder, registry.address, monitor.address)
            process.start()
            stack.push_async_callback(asyncio.to_thread, process.end, signal.SIGKILL)
            options = [("grpc.max_reconnect_backoff_ms", 200)]
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(process.address, options=options)
            )
            async with asyncio.timeout(60):
                await channel.channel_ready()
            caller = InferenceCaller(channel, process.address)
            registered = await registry.approved()
            await caller.create_endpoint(registered, "delays")
        await caller.predict()
        with suppress(grpc.aio.AioRpcError):
            await caller.create_endpoint(registered, "other")
            seen.violations.append("an endpoint was made of a version that nobody could check")
        await asyncio.to_thread(process.end, signal.SIGKILL)
        process.start()
        async with asyncio.timeout(60):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await caller.predict()
                    break
                await asyncio.sleep(0.05)
    seen.figures = "answered without it, and after a restart without it"
    return seen


async def stub_killed(folder: Path, times: int, within_s: float) -> Seen:
    """The process that runs a model on a Triton is killed, again and again, without a caller."""
    seen = Seen()
    files = tiny_files()
    digest = write_bundle(folder / "bundles", "v", files)
    bundle = Bundle(
        "projects/default/models/delays/versions/1",
        digest,
        folder / "bundles" / "v",
        parse_signature(files["signature.json"]),
    )
    row = Rows(1, np.array([[100.0], [5.0]], dtype=np.float32), (["AA"],))
    server = await asyncio.to_thread(TritonServer, folder)
    took_s = []
    try:
        async with background_tasks() as tasks:
            runtime = TritonRuntime(ReplicaPool([server.address]), tasks, BatchLimits())
            model = await runtime.load(bundle)
            for _ in range(times):
                (stub,) = living_children(server.pid)
                began_s = time.monotonic()
                os.kill(stub, signal.SIGKILL)
                await eventually(
                    lambda stub=stub: bool(living_children(server.pid) - {stub}),  # type: ignore[misc]  # mypy infers no default
                    within_s=_LONG_S,
                )
                await model.infer(row, None)
                took_s.append(time.monotonic() - began_s)
            await model.unload()
            await runtime.close()
    finally:
        await asyncio.to_thread(server.stop)
    seen.expect(
        sorted(took_s)[len(took_s) // 2] <= within_s,
        f"half of the revivals took more than {within_s:.0f} s",
    )
    seen.figures = f"{times} times revived, in {min(took_s):.1f} to {max(took_s):.1f} s"
    return seen


Fault: TypeAlias = Callable[[Path], Coroutine[Any, Any, Seen]]


def faults(
    *, away_s: float, connections: int, slow: int, kills: int, revived_s: float
) -> dict[str, Fault]:
    """Every fault by its name, as long and as many as said."""
    return {
        "monitor away": lambda folder: monitor_away(folder, away_s),
        "disk full": lambda folder: disk_full(folder, 0.0),
        "idle connections": lambda folder: idle_connections(folder, connections),
        "slow clients": lambda folder: slow_clients(folder, slow),
        "registry gone": registry_gone,
        "stub killed": lambda folder: stub_killed(folder, kills, revived_s),
    }
