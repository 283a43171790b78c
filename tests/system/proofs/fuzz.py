"""Malformed messages and frames harm nobody: no crash, no leak, a clear error each.

A real inference service is sent both, on each of the servers that can answer for it, with
good requests in between.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system.fuzzing import Fuzzed, fuzz

_CONSOLE = Console()
_SERVERS = ("native", "grpcio")
_MAX_GROWTH_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long, and what."""
    parser.add_argument("--seconds", type=float, default=600.0, help="of all servers together")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--on", nargs="+", choices=_SERVERS, default=list(_SERVERS))


def prove(arguments: argparse.Namespace) -> list[str]:
    """Fuzz each server and print what was sent and what came of it."""
    violations = []
    for server in arguments.on:
        with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
            seconds = arguments.seconds / len(arguments.on)
            result = asyncio.run(
                fuzz(Path(folder), server, seconds, arguments.seed, _MAX_GROWTH_BYTES)
            )
        _CONSOLE.print(_table(result))
        violations += [f"{server}: {violation}" for violation in result.violations]
    return violations


def _table(result: Fuzzed) -> Table:
    table = Table("what", "count", title=f"Malformed input, {result.server}")
    for kind, count in sorted(result.messages.items()):
        table.add_row(f"message: {kind}", f"{count:,}")
    for kind, count in sorted(result.connections.items()):
        table.add_row(f"connection: {kind}", f"{count:,}")
    for outcome, count in result.outcomes.most_common():
        table.add_row(f"answer: {outcome[:60]}", f"{count:,}")
    table.add_row("good requests in between", f"{result.good:,}")
    table.add_row("memory, MiB", f"{result.peak_bytes / 2**20:.0f}")
    table.add_row("memory grown since, MiB", f"{result.grown_bytes / 2**20:.1f}")
    table.add_row("descriptors left open", str(result.left_files))
    return table
