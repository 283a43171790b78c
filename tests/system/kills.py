"""Kills one service at every transition that any service reports, while a loop runs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from roundhouse.common.v1 import events_pb2

from tests.system.clients import PASSING, Clients, clients_of
from tests.system.invariants import violations
from tests.system.loop import run_loop
from tests.system.suite import SERVICES, Suite, running_suite
from tests.system.world import shrunken_world

_LOOP_S = 360.0
# Slow enough for the flights to outlast the pauses that kills make.
_ROLLOUT_RATE_PER_S = 100.0
# A worker that was killed with its trainer is given up sooner than after the default of 10 s.
_SETTINGS = {"trainer": {"lease_ttl_s": "2"}}
_RECONNECT_S = 0.05


@dataclass(frozen=True, slots=True, order=True)
class Transition:
    """Something that happened in a service, without saying to which resource.

    Attributes:
        type: Of the event, without `roundhouse.`.
        occurrence: How many resources, and phases of them, this type has happened to, from 1 up;
            an attempt that repeats what the one before it did is no new transition.
    """

    type: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.type} #{self.occurrence}" if self.occurrence > 1 else self.type


@dataclass
class KilledLoop:
    """One loop in which one service was killed again and again.

    Attributes:
        victim: The service.
        kills: By transition, whether the victim was serving when it was killed there; otherwise
            it was still starting from the kill before.
        violations: What was not as it must be in the end.
    """

    victim: str
    kills: dict[Transition, bool] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


async def run_killed_loop(
    folder: Path, victim: str, spared: frozenset[Transition] = frozenset()
) -> KilledLoop:
    """Run a loop and kill `victim` at every transition.

    Args:
        folder: Empty; gets what the services keep.
        victim: One of the four services.
        spared: Transitions at which it lives, so that it is up at the ones after them.
    """
    killed = KilledLoop(victim)
    async with running_suite(folder, settings=_SETTINGS) as suite, clients_of(suite) as clients:
        try:
            async with _killing(suite, clients, killed, spared):
                result = await run_loop(
                    suite,
                    clients,
                    shrunken_world(),
                    rollout_rate_per_s=_ROLLOUT_RATE_PER_S,
                    timeout_s=_LOOP_S,
                )
            await suite.wait_until_serving()
            killed.violations += await violations(suite, clients, result)
        except* (TimeoutError, AssertionError, grpc.aio.AioRpcError) as errors:
            killed.violations += _sentences(errors)
    return killed


def _sentences(errors: BaseExceptionGroup[Exception]) -> list[str]:
    found = []
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _sentences(error)
        else:
            found.append(f"{type(error).__name__}: {error}")
    return found


@asynccontextmanager
async def _killing(
    suite: Suite, clients: Clients, killed: KilledLoop, spared: frozenset[Transition]
) -> AsyncIterator[None]:
    seen: asyncio.Queue[Transition] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_transitions(clients, service, seen)) for service in SERVICES]
        tasks.append(group.create_task(_kill_at_each(suite, seen, killed, spared)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _kill_at_each(
    suite: Suite,
    seen: asyncio.Queue[Transition],
    killed: KilledLoop,
    spared: frozenset[Transition],
) -> None:
    while True:
        transition = await seen.get()
        if transition in spared:
            continue
        killed.kills[transition] = await suite.serves(killed.victim)
        suite.kill(killed.victim)
        suite.start(killed.victim)


async def _transitions(clients: Clients, service: str, seen: asyncio.Queue[Transition]) -> None:
    """Put each new event of a service into the queue, across its restarts."""
    seen_of: dict[str, set[tuple[str, float]]] = defaultdict(set)
    cursor = ""
    while True:
        request = events_pb2.WatchEventsRequest(cursor=cursor, follow=True)
        try:
            async for item in clients.events[service].WatchEvents(request):
                cursor = item.event.cursor or item.bookmark
                if not item.HasField("event") or not _is_transition(item.event):
                    continue
                kind = item.event.type.removeprefix("roundhouse.")
                subject = _subject(item.event)
                if subject not in seen_of[kind]:
                    seen_of[kind].add(subject)
                    seen.put_nowait(Transition(kind, len(seen_of[kind])))
        except grpc.aio.AioRpcError as error:
            if error.code() not in PASSING:
                raise
        await asyncio.sleep(_RECONNECT_S)


def _is_transition(event: events_pb2.Event) -> bool:
    """Reports come with every window, and move nothing by themselves."""
    return "report" not in event.type


def _subject(event: events_pb2.Event) -> tuple[str, float]:
    """What a type of event happened to: a resource, a phase of it, or a kind of decision."""
    fields = event.data.fields
    if "kind" in fields:
        return fields["kind"].string_value, 0.0
    return event.subject, fields["phase"].number_value
