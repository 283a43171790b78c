"""Aliases are linearizable, and version numbers have no gap and no duplicate.

Clients move and read aliases of real registry processes over gRPC, on each database; what
they saw is searched for an order that explains it. First the search must find planted faults.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.alias_history import (
    AliasCalls,
    Histories,
    LostCompareAndSet,
    RegistryAliases,
    StaleReads,
    histories_of,
)
from tests.support.postgres import PostgresServer
from tests.support.registry_api import RegistryCaller
from tests.support.registry_process import RegistryProcess

_CONSOLE = Console()
_VERSIONS = 5
_ALIASES = 4
_FAULTS: tuple[type[RegistryAliases], ...] = (StaleReads, LostCompareAndSet)
_FAULTY_MOVES = 400


@dataclass(frozen=True, slots=True)
class _Setting:
    """Where the clients' registries run.

    Attributes:
        replicas: Registry processes over one database.
    """

    name: str
    database: str
    replicas: int


_SETTINGS = {
    setting.name: setting
    for setting in (
        _Setting("sqlite", "sqlite", 1),
        _Setting("postgresql", "postgresql", 1),
        _Setting("postgresql-2-replicas", "postgresql", 2),
    )
}


@dataclass(frozen=True, slots=True)
class _Found:
    setting: str
    what: str
    figures: str
    seconds: float
    violations: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much each run does, and on what."""
    parser.add_argument("--moves", type=int, default=10_000, help="a run (default 10,000)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--writers", type=int, default=64, help="that create versions at once")
    parser.add_argument("--on", nargs="+", choices=list(_SETTINGS), default=list(_SETTINGS))


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run each setting and print what was done and found there."""
    found = asyncio.run(_prove(arguments))
    table = Table("on", "what", "done", "seconds", "violations", title="Aliases and versions")
    for each in found:
        table.add_row(
            each.setting,
            each.what,
            each.figures,
            f"{each.seconds:.0f}",
            str(len(each.violations)),
        )
    _CONSOLE.print(table)
    return [f"{each.setting}: {violation}" for each in found for violation in each.violations]


async def _prove(arguments: argparse.Namespace) -> list[_Found]:
    found = []
    async with AsyncExitStack() as stack:
        postgres = None
        if any(_SETTINGS[name].database == "postgresql" for name in arguments.on):
            postgres = PostgresServer()
            stack.callback(postgres.stop)
        for name in arguments.on:
            setting = _SETTINGS[name]
            with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
                async with _callers(setting, Path(folder), postgres, arguments) as callers:
                    for prove_one in (_planted_faults, _moves_and_reads, _writers_at_once):
                        found.append(await prove_one(setting, callers, arguments))
                        _CONSOLE.print(f"{name}: {found[-1].what}: {found[-1].figures}")
    return found


@asynccontextmanager
async def _callers(
    setting: _Setting, folder: Path, postgres: PostgresServer | None, arguments: argparse.Namespace
) -> AsyncIterator[list[RegistryCaller]]:
    """A caller per client, each with its own connection, spread over the replicas."""
    settings = {"blob_url": f"file://{folder / 'blobs'}"}
    if postgres is not None and setting.database == "postgresql":
        settings["database_url"] = postgres.url(postgres.create_database())
    async with AsyncExitStack() as stack:
        processes = []
        for number in range(setting.replicas):
            home = folder / f"replica-{number}"
            home.mkdir()
            processes.append(RegistryProcess(home, settings))
            stack.callback(processes[-1].stop)
        yield [
            await stack.enter_async_context(processes[number % len(processes)].caller())
            for number in range(arguments.clients)
        ]


async def _histories(
    callers: Sequence[RegistryCaller],
    model_id: str,
    moves: int,
    open_calls: Callable[[int, RegistryCaller], AliasCalls],
) -> Histories:
    model = await callers[0].create_model(model_id)
    versions = [await callers[0].ready_version(model) for _ in range(_VERSIONS)]
    return await histories_of(
        [open_calls(number, caller) for number, caller in enumerate(callers)],
        aliases=[f"{model}/aliases/alias-{number}" for number in range(_ALIASES)],
        versions=versions,
        moves=moves,
    )


async def _planted_faults(
    setting: _Setting, callers: Sequence[RegistryCaller], _: argparse.Namespace
) -> _Found:
    """One client of several sees what a broken registry would show; that must be found."""
    started = time.monotonic()
    unseen = []
    for fault in _FAULTS:
        histories = await _histories(
            callers,
            f"planted-{fault.__name__.lower()}",
            _FAULTY_MOVES,
            lambda number, caller, fault=fault: (  # type: ignore[misc]  # mypy infers no default
                RegistryAliases(caller) if number else fault(caller)
            ),
        )
        if not histories.violations():
            unseen.append(f"the planted {fault.__name__} was not found")
    figures = f"{len(_FAULTS) - len(unseen)} of {len(_FAULTS)} found"
    return _Found(setting.name, "planted faults", figures, time.monotonic() - started, unseen)


async def _moves_and_reads(
    setting: _Setting, callers: Sequence[RegistryCaller], arguments: argparse.Namespace
) -> _Found:
    started = time.monotonic()
    histories = await _histories(
        callers, "delays", arguments.moves, lambda _, caller: RegistryAliases(caller)
    )
    figures = (
        f"{len(callers)} clients, {histories.moves:,} moves ({histories.moved:,} made), "
        f"{histories.reads:,} reads"
    )
    seconds = time.monotonic() - started
    violations = await asyncio.to_thread(histories.violations)
    return _Found(setting.name, "moves and reads", figures, seconds, violations)


async def _writers_at_once(
    setting: _Setting, callers: Sequence[RegistryCaller], arguments: argparse.Namespace
) -> _Found:
    started = time.monotonic()
    model = await callers[0].create_model("numbered")
    names = await asyncio.gather(
        *(callers[number % len(callers)].begin(model) for number in range(arguments.writers))
    )
    wanted = {f"{model}/versions/{number}" for number in range(1, arguments.writers + 1)}
    violations = [f"{name} was left out" for name in sorted(wanted - set(names))]
    violations += [f"{name} was given twice" for name in set(names) if names.count(name) > 1]
    figures = f"{arguments.writers} writers"
    seconds = time.monotonic() - started
    return _Found(setting.name, "versions made at once", figures, seconds, violations)
