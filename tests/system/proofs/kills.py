"""The whole loop, with one service killed at each of its transitions."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system.kills import KilledLoop, Transition, run_killed_loop
from tests.system.suite import SERVICES

_CONSOLE = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many loops, and which services are killed."""
    parser.add_argument("--rounds", type=int, default=3, help="loops per service (default 3)")
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=list(SERVICES))


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run the loops and print where each service was killed."""
    loops = asyncio.run(_kill(arguments.rounds, arguments.services))
    _CONSOLE.print(kill_table(loops))
    return [f"{loop.victim}: {violation}" for loop in loops for violation in loop.violations]


def kill_table(loops: list[KilledLoop]) -> Table:
    """Transition x service: loops that ended well of those in which it was killed there."""
    table = Table("transition", *SERVICES, title="Killed at each transition, restarted at once")
    cells: dict[Transition, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for loop in loops:
        for transition, was_serving in loop.kills.items():
            cell = cells[transition][loop.victim]
            cell["loops"] += 1
            cell["well"] += not loop.violations
            cell["starting"] += not was_serving
    for transition in sorted(cells):
        row = [_cell(cells[transition][service]) for service in SERVICES]
        table.add_row(str(transition), *row)
    return table


def _cell(counts: Counter[str]) -> str:
    if not counts["loops"]:
        return ""
    starting = f" ({counts['starting']} starting)" if counts["starting"] else ""
    colour = "green" if counts["well"] == counts["loops"] else "red"
    return f"[{colour}]{counts['well']}/{counts['loops']}[/]{starting}"


async def _kill(rounds: int, services: list[str]) -> list[KilledLoop]:
    """Each round kills a service where it was not yet killed while it served."""
    loops: list[KilledLoop] = []
    for number in range(1, rounds + 1):
        for service in services:
            spared = frozenset(
                transition
                for loop in loops
                if loop.victim == service
                for transition, was_serving in loop.kills.items()
                if was_serving
            )
            with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
                loop = await run_killed_loop(Path(folder), service, spared)
            outcome = f"{len(loop.violations)} violations" if loop.violations else "well"
            _CONSOLE.print(f"round {number}, {service}: {len(loop.kills)} kills, {outcome}")
            loops.append(loop)
    return loops
