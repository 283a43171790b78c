"""Clients that move and read aliases at once, and what each of them saw."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from roundhouse.registry.v1 import model_service_pb2

from tests.support.calls import TIMEOUT_S
from tests.support.linearizability import CompareAndSet, Operation, Read, stuck_at
from tests.support.registry_api import RegistryCaller


class AliasCalls(Protocol):
    """What a client does with aliases."""

    async def read(self, alias: str) -> str:
        """The version that the alias points at; empty if there is no alias."""
        ...

    async def resolve(self, alias: str) -> str:
        """The same, by the version that the alias names."""
        ...

    async def move(self, alias: str, to: str, expected: str) -> bool:
        """Whether the alias was moved."""
        ...


class RegistryAliases:
    """`AliasCalls` on a registry.

    Args:
        caller: Of the registry.
    """

    def __init__(self, caller: RegistryCaller) -> None:
        self._caller = caller

    async def read(self, alias: str) -> str:
        """See `AliasCalls`."""
        request = model_service_pb2.GetAliasRequest(name=alias)
        try:
            return (await self._caller.models.GetAlias(request, timeout=TIMEOUT_S)).version
        except grpc.aio.AioRpcError as error:
            return _empty_if_missing(error)

    async def resolve(self, alias: str) -> str:
        """See `AliasCalls`."""
        request = model_service_pb2.GetVersionRequest(name=alias)
        try:
            version = await self._caller.models.GetVersion(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return _empty_if_missing(error)
        assert alias in version.aliases, f"{version.name} by {alias} has {version.aliases}"
        return version.name

    async def move(self, alias: str, to: str, expected: str) -> bool:
        """See `AliasCalls`."""
        try:
            await self._caller.move((alias, to, expected))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise
            return False
        return True


def _empty_if_missing(error: grpc.aio.AioRpcError) -> str:
    if error.code() is not grpc.StatusCode.NOT_FOUND:
        raise error
    return ""


class StaleReads(RegistryAliases):
    """A planted fault: reads come from a cache that moves don't touch."""

    def __init__(self, caller: RegistryCaller) -> None:
        super().__init__(caller)
        self._cached: dict[str, str] = {}

    async def read(self, alias: str) -> str:
        """See `AliasCalls`."""
        if alias not in self._cached:
            self._cached[alias] = await super().read(alias)
        return self._cached[alias]


class LostCompareAndSet(RegistryAliases):
    """A planted fault: a move that is refused is made all the same, over what is there now."""

    async def move(self, alias: str, to: str, expected: str) -> bool:
        """See `AliasCalls`."""
        return await super().move(alias, to, expected) or await super().move(
            alias, to, await super().read(alias)
        )


@dataclass(frozen=True, slots=True)
class Histories:
    """What all clients saw, by alias."""

    by_alias: Mapping[str, Sequence[Operation]]

    @property
    def moves(self) -> int:
        """How often an alias was asked to move."""
        return sum(isinstance(each.what, CompareAndSet) for each in self._all())

    @property
    def moved(self) -> int:
        """How often one did."""
        return sum(
            isinstance(each.what, CompareAndSet) and each.what.succeeded is True
            for each in self._all()
        )

    @property
    def reads(self) -> int:
        """How often one was read."""
        return sum(isinstance(each.what, Read) for each in self._all())

    def violations(self) -> list[str]:
        """For each alias without a linear order, the operation at which none goes on."""
        stuck = {alias: stuck_at(history) for alias, history in self.by_alias.items()}
        return [f"{alias} is not linearizable at {at}" for alias, at in stuck.items() if at]

    def _all(self) -> list[Operation]:
        return [each for history in self.by_alias.values() for each in history]


@dataclass
class _Client:
    calls: AliasCalls
    versions: Sequence[str]
    source: random.Random
    known: dict[str, str] = field(default_factory=lambda: defaultdict(str))

    async def act(self, alias: str) -> Operation:
        kind = self.source.choice(["read", "resolve", "move", "move"])
        start = time.monotonic()
        what: Read | CompareAndSet
        if kind == "move":
            expected, new = self.known[alias], self.source.choice(self.versions)
            moved = await self.calls.move(alias, new, expected)
            what = CompareAndSet(expected, new, moved)
            if moved:
                self.known[alias] = new
        else:
            read = self.calls.read if kind == "read" else self.calls.resolve
            self.known[alias] = await read(alias)
            what = Read(self.known[alias])
        return Operation(start, time.monotonic(), what)


async def histories_of(
    clients: Sequence[AliasCalls],
    *,
    aliases: Sequence[str],
    versions: Sequence[str],
    moves: int,
    seed: int = 0,
) -> Histories:
    """What the clients saw while they moved and read the aliases at once.

    Args:
        clients: Each waits for its answer before it goes on.
        aliases: Each client picks one at random for each operation.
        versions: What an alias may point at.
        moves: Of all clients together; about as many reads come with them.
        seed: Of what the clients pick.
    """
    seen: dict[str, list[Operation]] = {alias: [] for alias in aliases}

    async def run(client: _Client) -> None:
        moved = 0
        while moved < moves // len(clients):
            alias = client.source.choice(aliases)
            seen[alias].append(await client.act(alias))
            moved += isinstance(seen[alias][-1].what, CompareAndSet)

    async with asyncio.TaskGroup() as group:
        for number, calls in enumerate(clients):
            source = random.Random(seed * len(clients) + number)
            group.create_task(run(_Client(calls, versions, source)))
    return Histories(seen)
