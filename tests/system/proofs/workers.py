"""Workers, trials' processes and the trainer killed at random moments of searches, also on Ray."""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.ray_cluster import ray_cluster
from tests.system.worker_kills import KilledWorkers, run_killed_workers

_CONSOLE = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    parser.add_argument("--kills", type=int, default=40, help="how often something is killed")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--at-once", type=int, default=3, help="how many searches")
    parser.add_argument("--seed", type=int, help="of every draw; printed")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run searches under the kills and print what was killed and what came of it."""
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    _CONSOLE.print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        found = _killed(Path(folder), seed, arguments)
    table = Table("what was killed", "times", title="Killed while searches run")
    for what, times in found.kills.most_common():
        table.add_row(what, str(times))
    _CONSOLE.print(table)
    _CONSOLE.print(
        f"{found.jobs} searches ended as unbroken ones; {found.checkpoints} checkpoints restored; "
        f"{len(found.violations)} violations"
    )
    return found.violations


def _tell(found: KilledWorkers) -> None:
    _CONSOLE.print(
        f"{found.kills.total():,} kills, {found.jobs:,} searches over, "
        f"{len(found.violations)} violations"
    )


def _killed(folder: Path, seed: int, arguments: argparse.Namespace) -> KilledWorkers:
    with ray_cluster() if arguments.engine == "ray" else nullcontext() as cluster:
        if cluster:
            cluster.start()
        killing = run_killed_workers(
            folder,
            seed=seed,
            kills=arguments.kills,
            tell=_tell,
            at_once=arguments.at_once,
            cluster=cluster,
        )
        return asyncio.run(killing)
