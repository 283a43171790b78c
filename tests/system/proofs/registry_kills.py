"""Nothing acknowledged is lost, doubled or leaked by a registry that is killed, nor by its S3."""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import S3Server
from tests.system.registry_kills import KilledRegistry, run_killed_registry

_CONSOLE = Console()
_DATABASES = ("sqlite", "postgresql")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many kills, in how many rounds, by which draw."""
    parser.add_argument("--kills", type=int, default=200, help="over all rounds (default 200)")
    parser.add_argument("--rounds", type=int, default=4, help="half on each database (default 4)")
    parser.add_argument("--seed", type=int, default=None, help="of every draw; printed")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run the rounds and print what was killed and what came of it."""
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    _CONSOLE.print(f"seed {seed}")
    rounds: list[tuple[str, KilledRegistry]] = []
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        s3 = S3Server(Path(folder))
        postgres = PostgresServer()
        try:
            for number in range(arguments.rounds):
                database = _DATABASES[number % len(_DATABASES)]
                place = Path(folder, f"round-{number}")
                place.mkdir()
                url = (
                    f"sqlite:///{place}/registry.db"
                    if database == "sqlite"
                    else postgres.url(postgres.create_database())
                )
                kills = arguments.kills // arguments.rounds
                one = asyncio.run(
                    run_killed_registry(place, s3, url, seed=seed + number, kills=kills)
                )
                _CONSOLE.print(f"round {number + 1}, {database}: {len(one.violations)} violations")
                for fault in one.violations:
                    _CONSOLE.print(f"  {fault}")
                rounds.append((database, one))
        finally:
            s3.stop()
            postgres.stop()
    _CONSOLE.print(result_table(rounds))
    _CONSOLE.print(_counted("what was under way at a kill", [one.kills for _, one in rounds]))
    _CONSOLE.print(_counted("requests to the S3", [Counter(one.faults) for _, one in rounds]))
    return [f"{name}: {fault}" for name, one in rounds for fault in one.violations]


def result_table(rounds: list[tuple[str, KilledRegistry]]) -> Table:
    """A row for each round."""
    columns = ("database", "seed", "kills", "begun", "committed", "moved", "collected")
    table = Table(*columns, "violations", title="Killed while versions come, move and go")
    for database, one in rounds:
        seen = one.evidence
        table.add_row(
            database,
            str(one.seed),
            str(one.kills.total()),
            str(len(seen.begun)),
            str(len(seen.committed)),
            str(len(seen.moves)),
            str(one.collected),
            str(len(one.violations)),
        )
    return table


def _counted(title: str, counts: list[Counter[str]]) -> Table:
    table = Table(title, "times")
    for what, times in sum(counts, Counter[str]()).most_common():
        table.add_row(what, str(times))
    return table
