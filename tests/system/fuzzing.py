"""Sends what is malformed to a real inference service, and looks at how it bears that."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
from google.rpc.error_details_pb2 import ErrorInfo

from tests.support.bundles import TinyModel
from tests.support.eventually import eventually
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.inference_process import InferenceProcess
from tests.support.probe import details_of
from tests.system.malformed import INFER, malformed_connection, malformed_message

MODEL: Final = "delays"
CODE: Final = grpc.StatusCode
_CLEAR: Final = {
    CODE.INVALID_ARGUMENT,
    CODE.NOT_FOUND,
    CODE.DEADLINE_EXCEEDED,
    CODE.RESOURCE_EXHAUSTED,
}
_ANSWER_S: Final = 30.0
_LOOK_AT_ANSWER_S: Final = 0.05
_BETWEEN_GOOD: Final = 25
_ALLOWED_FILES: Final = 12


@dataclass
class Fuzzed:
    """What was sent to one server, and what came of it.

    Attributes:
        peak_bytes: Memory after three fifths of the time, when what floods leave behind is there.
        grown_bytes: Memory at the end beyond that; what still grows then is a leak.
        left_files: Descriptors beyond those before it began, when every client had left.
    """

    server: str
    messages: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    good: int = 0
    peak_bytes: int = 0
    grown_bytes: int = 0
    left_files: int = 0
    violations: list[str] = field(default_factory=list)


@asynccontextmanager
async def served(folder: Path, server: str) -> AsyncIterator[tuple[InferenceProcess, str]]:
    """A service in a process of its own that answers at the endpoint `MODEL`."""
    async with (
        registry_with_models(folder / "registry") as registry,
        fake_monitor() as monitor,
    ):
        process = InferenceProcess(folder, registry.address, monitor.address, server=server)
        process.start()
        try:
            async with grpc.aio.insecure_channel(process.address) as channel:
                async with asyncio.timeout(60):
                    await channel.channel_ready()
                caller = InferenceCaller(channel, process.address)
                await caller.create_endpoint(await registry.approved(), MODEL)
            yield process, process.address
        finally:
            await asyncio.to_thread(process.end, signal.SIGKILL)


async def fuzz(
    folder: Path, server: str, seconds: float, seed: int, max_growth_bytes: int
) -> Fuzzed:
    """Send for `seconds`, with good requests in between.

    `max_growth_bytes` is of the memory in the last two fifths of the time.
    """
    result = Fuzzed(server)
    async with served(folder, server) as (process, address):
        watched = psutil.Process(process.pid)
        ends = time.monotonic() + seconds
        async with grpc.aio.insecure_channel(address) as channel:
            files = watched.num_fds()
            await _until(time.monotonic() + seconds * 3 / 5, result, channel, address, seed)
            result.peak_bytes = watched.memory_info().rss
            await _until(ends, result, channel, address, seed + 1)
            await _good(result, channel, address)
            with suppress(AssertionError):
                await eventually(lambda: watched.num_fds() <= files + _ALLOWED_FILES, within_s=10)
            result.left_files = max(0, watched.num_fds() - files)
            result.grown_bytes = max(0, watched.memory_info().rss - result.peak_bytes)
        if not watched.is_running() or watched.status() == psutil.STATUS_ZOMBIE:
            result.violations.append("the process died")
        code = await asyncio.to_thread(process.end, signal.SIGTERM)
        if code != 0:
            result.violations.append(f"after SIGTERM it ended with {code}")
    if result.grown_bytes > max_growth_bytes:
        result.violations.append(f"memory grew by {result.grown_bytes >> 20} MiB")
    if result.left_files > _ALLOWED_FILES:
        result.violations.append(f"{result.left_files} descriptors are left open")
    return result


async def _until(
    ends: float, result: Fuzzed, channel: grpc.aio.Channel, address: str, seed: int
) -> None:
    async with asyncio.TaskGroup() as senders:
        for number in range(2):
            dice = random.Random(f"{seed}-message-{number}")
            senders.create_task(_send_messages(ends, result, channel, address, dice))
        dice = random.Random(f"{seed}-connection")
        senders.create_task(_open_connections(ends, result, address, dice))


async def _send_messages(
    ends: float, result: Fuzzed, channel: grpc.aio.Channel, address: str, dice: random.Random
) -> None:
    infer = channel.unary_unary(INFER)
    while time.monotonic() < ends:
        for _ in range(_BETWEEN_GOOD):
            kind, data = malformed_message(MODEL, dice)
            result.messages[kind] += 1
            outcome = await _outcome(infer, data)
            result.outcomes[outcome] += 1
            if outcome.startswith("!") and result.outcomes[outcome] == 1:
                result.violations.append(f"{kind}: {outcome} for {data[:200]!r}")
        await _good(result, channel, address)


async def _outcome(infer: Any, data: bytes) -> str:
    """The reason that was given, or what else came; `!` before what should not have come."""
    try:
        await infer(data, timeout=_ANSWER_S)
    except grpc.aio.AioRpcError as error:
        reason = details_of(error).get(ErrorInfo, ErrorInfo()).reason
        if error.code() in _CLEAR and reason:
            return str(reason)
        return f"!{error.code().name} {error.details()[:60]}"
    return "answered"


async def _good(result: Fuzzed, channel: grpc.aio.Channel, address: str) -> None:
    """A good request is answered, whatever was sent before it."""
    try:
        _, probability = await InferenceCaller(channel, address).predict()
    except grpc.aio.AioRpcError as error:
        result.violations.append(f"a good request got {error.code().name}: {error.details()}")
        return
    result.good += 1
    if abs(probability - TinyModel().probability(100.0, 5.0, "AA")) > 1e-5:
        result.violations.append(f"a good request was answered with {probability}")


async def _open_connections(ends: float, result: Fuzzed, address: str, dice: random.Random) -> None:
    host, _, port = address.rpartition(":")
    while time.monotonic() < ends:
        kind, data = malformed_connection(MODEL, dice)
        result.connections[kind] += 1
        reader, writer = await asyncio.open_connection(host, int(port))
        # The server may close the connection at any byte.
        with suppress(ConnectionError):
            writer.write(data)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AT_ANSWER_S):
                    await writer.drain()
                    while await reader.read(1 << 16):
                        pass
        writer.transport.abort()
