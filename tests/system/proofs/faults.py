"""What goes wrong around an inference service costs no acknowledged observation and no crash.

The monitor away until the spill is full, a full disk, idle and slow clients, a registry that
is gone, and model processes on a real Triton that are killed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system.faults import faults

_CONSOLE = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long and how many."""
    parser.add_argument("--away-s", type=float, default=600.0, help="the monitor's absence")
    parser.add_argument("--connections", type=int, default=8_000, help="that idle")
    parser.add_argument("--slow", type=int, default=200, help="clients of each slow kind")
    parser.add_argument("--kills", type=int, default=10, help="of a model's process")
    parser.add_argument("--revived-s", type=float, default=5.0, help="bound of half the revivals")
    parser.add_argument("--only", nargs="+", help="names of faults")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Let each fault happen and print what was seen."""
    table = Table("fault", "seen", "seconds", "violations", title="Faults")
    violations = []
    chosen = faults(
        away_s=arguments.away_s,
        connections=arguments.connections,
        slow=arguments.slow,
        kills=arguments.kills,
        revived_s=arguments.revived_s,
    )
    for name, happen in chosen.items():
        if arguments.only and name not in arguments.only:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
            seen = asyncio.run(happen(Path(folder)))
        seconds = f"{time.monotonic() - started:.0f}"
        table.add_row(name, seen.figures, seconds, str(len(seen.violations)))
        violations += [f"{name}: {violation}" for violation in seen.violations]
    _CONSOLE.print(table)
    return violations
