"""Versions switched again and again under load: rolled back, and swapped."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from roundhouse.inference.v1 import rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb

from tests.support.fake_monitor import FakeMonitor, Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    InferenceCaller,
    Registered,
    RegistryWithModels,
    registry_with_models,
    request_id,
)
from tests.support.inference_process import InferenceProcess
from tests.system.steady_load import Answer, SteadyLoad, steady_load

STATE = rollout_pb2.Rollout
_OVER = {
    STATE.STATE_SUCCEEDED,
    STATE.STATE_ROLLED_BACK,
    STATE.STATE_CANCELLED,
    STATE.STATE_FAILED,
}
_LOOK_S = 0.01
_LONGEST_S = 60.0
_BAD_ANSWERS = 20
_SETTLED_S = 0.3
"""After a switch, so long the bad version's last answer is waited for; each one starts it anew."""


@dataclass
class World:
    """A service in a process of its own, its peers in this one, and callers at a steady rate."""

    process: InferenceProcess
    inference: InferenceCaller
    registry: RegistryWithModels
    monitor: FakeMonitor
    load: SteadyLoad

    async def ended(self, rollout_id: str) -> rollout_pb2.Rollout:
        """The rollout once it is over."""
        async with asyncio.timeout(_LONGEST_S):
            while (rollout := await self.inference.rollout(rollout_id)).state not in _OVER:
                await asyncio.sleep(_LOOK_S)
        return rollout


@asynccontextmanager
async def switching_world(folder: Path, rate_per_s: float) -> AsyncIterator[World]:
    """Everything, with an endpoint under load."""
    async with (
        serving_world(folder) as (process, inference, registry, monitor),
        steady_load(process.address, "delays", rate_per_s) as load,
    ):
        yield World(process, inference, registry, monitor, load)


@asynccontextmanager
async def serving_world(
    folder: Path, **settings: str
) -> AsyncIterator[tuple[InferenceProcess, InferenceCaller, RegistryWithModels, FakeMonitor]]:
    """A service with an endpoint of one version, and its peers; `settings` are the service's."""
    async with registry_with_models(folder / "registry") as registry, fake_monitor() as monitor:
        process = InferenceProcess(folder, registry.address, monitor.address, **settings)
        process.start()
        try:
            async with grpc.aio.insecure_channel(process.address) as channel:
                async with asyncio.timeout(_LONGEST_S):
                    await channel.channel_ready()
                inference = InferenceCaller(channel, process.address)
                await inference.create_endpoint(await registry.approved())
                yield process, inference, registry, monitor
        finally:
            await asyncio.to_thread(process.end, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Switch:
    """One roll-back.

    Attributes:
        by_hand: Whether a person asked for it; otherwise the monitor's verdict was FAIL.
        last_bad_s: From the command, or from when the verdict could be asked for, to the last
            answer of the bad version.
        answers: That came from the command on, and
        failures: those of them that failed.
    """

    by_hand: bool
    last_bad_s: float
    answers: int
    failures: tuple[str, ...]


async def roll_back_repeatedly(folder: Path, *, rate_per_s: float, times: int) -> list[Switch]:
    """Roll a bad candidate out to half of the traffic and back, by hand and by verdict in turn."""
    switches = []
    async with switching_world(folder, rate_per_s) as world:
        bad = await world.registry.approved(5.0)
        for number in range(times):
            switches.append(await _rolled_back(world, bad, number))
    return switches


async def _rolled_back(world: World, bad: Registered, number: int) -> Switch:
    phases = [
        rollout_pb2.Phase(weight_basis_points=5_000, min_outcomes=1),
        rollout_pb2.Phase(weight_basis_points=10_000),
    ]
    load, rollout_id = world.load, f"bad-{number}"
    load.forget()
    world.monitor.verdict = Response.VERDICT_INCONCLUSIVE
    await world.inference.create_rollout(bad, rollout_id, phases=phases)
    async with asyncio.timeout(_LONGEST_S):
        while load.of(bad.version) < _BAD_ANSWERS:
            await asyncio.sleep(_LOOK_S)
    by_hand = number % 2 == 0
    command_s = time.monotonic()
    if by_hand:
        await world.inference.rollouts.RollbackEndpoint(
            rollouts_pb.RollbackEndpointRequest(
                name=ENDPOINT, reason="it is bad", request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    else:
        world.monitor.verdict = Response.VERDICT_FAIL
    ended = await world.ended(rollout_id)
    assert ended.state == (STATE.STATE_CANCELLED if by_hand else STATE.STATE_ROLLED_BACK)
    after = await _settled(load, bad.version, command_s)
    bad_s = [answer.end_s for answer in after if answer.version == bad.version]
    return Switch(
        by_hand,
        max(bad_s, default=command_s) - command_s,
        len(after),
        tuple(answer.failure for answer in after if answer.failure),
    )


async def _settled(load: SteadyLoad, bad: str, start_s: float) -> Sequence[Answer]:
    """The answers since `start_s`, once the bad version has been silent for a while."""
    silent_since_s = time.monotonic()
    while time.monotonic() < silent_since_s + _SETTLED_S:
        await asyncio.sleep(_SETTLED_S / 4)
        silent_since_s = max(
            [silent_since_s, *(a.end_s for a in load.since(silent_since_s) if a.version == bad)]
        )
    return load.since(start_s)


@dataclass
class Swap:
    """One version that took over from another.

    Attributes:
        took_s: From the command until it was promoted.
        rss_bytes: Of the service, after it.
        latencies_s: Of the answers meanwhile.
        failures: Of the calls meanwhile.
    """

    took_s: float
    rss_bytes: int
    latencies_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def swap_repeatedly(folder: Path, *, rate_per_s: float, times: int) -> list[Swap]:
    """Bring three versions into service in turn, so that each swap loads one and unloads one."""
    swaps = []
    async with switching_world(folder, rate_per_s) as world:
        world.monitor.verdict = Response.VERDICT_PASS
        versions = [await world.registry.approved(float(bias)) for bias in (1, 2, 3)]
        service = psutil.Process(world.process.pid)
        for number in range(times):
            world.load.forget()
            start_s, rollout_id = time.monotonic(), f"swap-{number}"
            await world.inference.create_rollout(
                versions[number % 3],
                rollout_id,
                phases=[rollout_pb2.Phase(weight_basis_points=10_000)],
            )
            ended = await world.ended(rollout_id)
            assert ended.state == STATE.STATE_SUCCEEDED, ended.message
            answers = world.load.answers
            swaps.append(
                Swap(
                    time.monotonic() - start_s,
                    service.memory_info().rss,
                    [answer.took_s for answer in answers if not answer.failure],
                    [answer.failure for answer in answers if answer.failure],
                )
            )
    return swaps
