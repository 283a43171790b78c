"""Stock callers run through a canary: all are answered, and the share is what was asked for."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system.canary import NEW, SHARE, Run, run_callers

_CONSOLE = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many requests each caller sends to each server."""
    parser.add_argument("--requests", type=int, default=20_000, help="each (default 20,000)")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Call both servers and print which version answered."""
    asked = dict.fromkeys(("tritonclient", "tritonclient.aio", "k6", "h2load"), arguments.requests)
    runs: list[Run] = []
    for server in ("native", "grpcio"):
        with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
            runs += asyncio.run(run_callers(Path(folder), server, asked))
    table = Table(
        *("caller", "server", "requests", "answered", "failed", "by the new version", "due"),
        title=f"A canary at {SHARE:.0%}",
    )
    for run in runs:
        low, high = run.interval
        table.add_row(
            run.caller,
            run.server,
            f"{run.asked:,}",
            f"{sum(run.served.values()):,}",
            str(run.failed),
            f"{run.served.get(NEW, 0):,}",
            f"{low:,} to {high:,}",
        )
    _CONSOLE.print(table)
    return [violation for run in runs for violation in run.violations]
