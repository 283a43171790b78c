"""A rollout through a shadow and a canary, whose service is killed at every turn of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import pytest
from roundhouse.common.v1 import events_pb2, events_pb2_grpc
from roundhouse.inference.v1 import rollout_pb2

from tests.support.eventually import eventually
from tests.support.fake_monitor import FakeMonitor, Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    InferenceCaller,
    RegistryWithModels,
    registry_with_models,
)
from tests.support.inference_process import InferenceProcess

pytestmark = pytest.mark.real

STATE, PHASE = rollout_pb2.Rollout, rollout_pb2.Phase
SHADOW = PHASE(
    kind=PHASE.KIND_SHADOW,
    shadow=rollout_pb2.ShadowPlan(sample_basis_points=10_000, min_requests=100, min_agreement=0.5),
)
PHASES = [SHADOW, PHASE(weight_basis_points=5_000), PHASE(weight_basis_points=10_000)]
_UP_S = 60.0
_LOOK_S = 0.02
_CALLERS = 4


@dataclass
class World:
    """A service in a process of its own, and callers who go on whatever happens to it."""

    process: InferenceProcess
    inference: InferenceCaller
    events: events_pb2_grpc.EventServiceStub
    registry: RegistryWithModels
    monitor: FakeMonitor
    answered: list[str] = field(default_factory=list)

    async def call_on(self, caller: int) -> None:
        """Predict until cancelled, and note what was answered."""
        for number in itertools.count():
            prediction_id = f"{caller}-{number}"
            try:
                await self.inference.predict(prediction_id=prediction_id)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(_LOOK_S)
            else:
                self.answered.append(f"{prediction_id}:0")

    async def once(self, reached: Callable[[rollout_pb2.Rollout], bool]) -> rollout_pb2.Rollout:
        """The rollout as soon as it is so far, across the service's restarts."""
        async with asyncio.timeout(_UP_S):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    rollout = await self.inference.rollout()
                    if reached(rollout):
                        return rollout
                await asyncio.sleep(_LOOK_S)

    async def kill(self) -> None:
        """End it as it is, and start it again."""
        await asyncio.to_thread(self.process.end, signal.SIGKILL)
        self.process.start()

    async def happened(self) -> list[str]:
        """What has happened to the rollout, in order."""
        request = events_pb2.WatchEventsRequest(type_prefixes=["roundhouse.inference.rollout."])
        return [
            item.event.type.rpartition(".")[2]
            async for item in self.events.WatchEvents(request, timeout=TIMEOUT_S)
            if item.HasField("event")
        ]


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        fake_monitor() as monitor,
    ):
        process = InferenceProcess(tmp_path, registry.address, monitor.address)
        process.start()
        options = [("grpc.max_reconnect_backoff_ms", 200)]
        try:
            async with grpc.aio.insecure_channel(process.address, options=options) as channel:
                async with asyncio.timeout(_UP_S):
                    await channel.channel_ready()
                yield World(
                    process,
                    InferenceCaller(channel, process.address),
                    events_pb2_grpc.EventServiceStub(channel),
                    registry,
                    monitor,
                )
        finally:
            await asyncio.to_thread(process.end, signal.SIGKILL)


async def test_a_rollout_killed_at_every_turn_ends_once_and_loses_no_observation(world):
    old, new = await world.registry.approved(), await world.registry.approved(0.01)
    await world.inference.create_endpoint(old)
    await world.inference.create_rollout(new, phases=PHASES)
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(world.call_on(caller)) for caller in range(_CALLERS)]
        await world.once(lambda rollout: rollout.state == STATE.STATE_RUNNING)
        await world.kill()
        await world.once(lambda rollout: rollout.current_phase == 1)
        await world.kill()
        world.monitor.verdict = Response.VERDICT_PASS
        await world.once(lambda rollout: rollout.current_phase == 2)
        await world.kill()
        await world.once(lambda rollout: rollout.state == STATE.STATE_SUCCEEDED)
        await world.kill()
        ended = await world.once(lambda rollout: True)
        for caller in callers:
            caller.cancel()

    assert ended.state == STATE.STATE_SUCCEEDED, ended.message
    assert [outcome.phase for outcome in ended.outcomes] == [0, 1, 2]
    assert {outcome.verdict for outcome in ended.outcomes} == {
        rollout_pb2.PhaseOutcome.VERDICT_PASS
    }
    assert await world.happened() == [
        *("created", "preparing"),
        *("phase_started", "phase_passed") * 3,
        "succeeded",
    ]
    held = {v.version: v.weight_basis_points for v in (await world.inference.endpoint()).variants}
    assert held == {old.version: 0, new.version: 10_000}
    assert await world.registry.alias() == new.version

    def told() -> list[str]:
        return [
            each
            for batch in world.monitor.batches.values()
            for endpoint, each in zip(
                batch["endpoint"].to_pylist(), batch["prediction_id"].to_pylist(), strict=True
            )
            if endpoint == ENDPOINT
        ]

    await eventually(lambda: set(world.answered) <= set(told()), within_s=_UP_S)
    assert max(Counter(told()).values()) == 1, "an observation was stored twice"
