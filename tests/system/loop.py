"""Drives the scenario to its end while traffic runs and a person approves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from roundhouse.monitor.v1 import monitor_pb2

from tests.system.clients import Clients, until
from tests.system.scenario import (
    Served,
    bring_into_service,
    decide,
    episodes,
    pending_approvals,
)
from tests.system.suite import Suite
from tests.system.traffic import Log, Traffic
from tests.system.world import CHANGES_AT, WINDOW_DAYS, World

_State = monitor_pb2.Episode
TERMINAL = {
    _State.STATE_PROMOTED,
    _State.STATE_ROLLED_BACK,
    _State.STATE_REJECTED,
    _State.STATE_FAILED,
}
_POLL_S = 0.2
# Flights are few: they trickle while they change nothing.
FULL_RATE_PER_S = 1000.0
_TRICKLE_PER_S = 5.0
_CHANGED_LONG_ENOUGH_US = (int(CHANGES_AT.timestamp()) + 4 * WINDOW_DAYS * 24 * 60 * 60) * 1_000_000


@dataclass(frozen=True)
class LoopResult:
    """One way round the loop.

    Attributes:
        episode: As it ended.
        log: What the callers saw.
        promoted_s: `time.monotonic()` when the episode was seen to be over.
    """

    first: Served
    episode: monitor_pb2.Episode
    log: Log
    promoted_s: float

    @property
    def seconds_to_first_answer(self) -> float:
        """From the first changed flight to the first answer of the new version."""
        assert self.log.changed_s is not None
        return self.log.first_answer_s[self.episode.candidate] - self.log.changed_s

    @property
    def seconds_to_promotion(self) -> float:
        """From the first changed flight to the new version having all the traffic."""
        assert self.log.changed_s is not None
        return self.promoted_s - self.log.changed_s


async def run_loop(
    suite: Suite,
    clients: Clients,
    world: World,
    *,
    rollout_rate_per_s: float = FULL_RATE_PER_S,
    timeout_s: float = 200.0,
) -> LoopResult:
    """Bring a first version into service and carry one episode to its end.

    Args:
        suite: Serving.
        clients: Of the suite.
        world: What happens.
        rollout_rate_per_s: Flights per second while the new version is rolled out.
        timeout_s: For the episode.
    """
    first = await bring_into_service(clients, world)
    traffic = Traffic(suite.address("inference"), "late", world.flights)
    traffic.start()
    try:
        async with _in_background(approve_what_is_asked(clients), traffic.report_outcomes(clients)):
            episode = await _finished_episode(clients, traffic, rollout_rate_per_s, timeout_s)
            promoted_s = time.monotonic()
    finally:
        await traffic.stop()
    while traffic.has_unreported_outcomes:
        await traffic.report_known_outcomes(clients)
    return LoopResult(first, episode, traffic.log, promoted_s)


async def approve_what_is_asked(clients: Clients) -> None:
    """Be the person who approves, until cancelled."""
    while True:
        for approval in await pending_approvals(clients):
            await decide(clients, approval)
        await asyncio.sleep(_POLL_S)


async def _finished_episode(
    clients: Clients, traffic: Traffic, rollout_rate_per_s: float, timeout_s: float
) -> monitor_pb2.Episode:
    async def over() -> monitor_pb2.Episode | None:
        async with _sparing_while_away(traffic):
            newest = next(iter(await episodes(clients)), None)
        traffic.rate_per_s = _TRICKLE_PER_S
        if newest is None and traffic.log.event_us < _CHANGED_LONG_ENOUGH_US:
            traffic.rate_per_s = FULL_RATE_PER_S
        elif newest and newest.state == _State.STATE_ROLLING_OUT:
            traffic.rate_per_s = rollout_rate_per_s
        return newest if newest and newest.state in TERMINAL else None

    return await until(over, what="end of the episode", timeout_s=timeout_s)


@asynccontextmanager
async def _sparing_while_away(traffic: Traffic) -> AsyncIterator[None]:
    """Lets flights trickle once the block takes long: its service is away and would miss them."""

    async def spare() -> None:
        await asyncio.sleep(_POLL_S)
        traffic.rate_per_s = _TRICKLE_PER_S

    sparing = asyncio.create_task(spare())
    try:
        yield
    finally:
        sparing.cancel()


@asynccontextmanager
async def _in_background(*work) -> AsyncIterator[None]:
    """Runs coroutines beside the block, which fails if one of them does."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in work]
        yield
        for task in tasks:
            task.cancel()
