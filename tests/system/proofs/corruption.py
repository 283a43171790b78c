"""Every stored object flipped, truncated, deleted and swapped, on a directory and on S3."""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.support.damage import Damage
from tests.support.seaweedfs import BUCKET, S3Server
from tests.system.corruption import Outcome, Place, run_corruption

_CONSOLE = Console(width=160)
_COLUMNS = (
    *("objects", "reads refused", "wrong files", "loads refused", "predictions"),
    *("named exactly", "restored", "records", "records named"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much the registry holds."""
    parser.add_argument("--versions", type=int, default=4, help="committed versions (default 4)")
    parser.add_argument("--snapshots", type=int, default=3, help="sealed snapshots (default 3)")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Damage both and print who noticed."""
    # Each refusal is logged as an error, which here is thousands of lines of what is expected.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        root = Path(folder)
        (root / "s3").mkdir()
        server = S3Server(root / "s3")
        try:
            places = {
                "directory": Place(f"file://{root / 'blobs'}"),
                "S3": Place(f"s3://{BUCKET}/corruption", server.connection),
            }
            for name, place in places.items():
                run = run_corruption(
                    root / name,
                    place,
                    versions=arguments.versions,
                    snapshots=arguments.snapshots,
                )
                outcomes[name] = asyncio.run(run)
        finally:
            server.stop()
    _CONSOLE.print(corruption_table(outcomes))
    return [f"{name}: {fault}" for name, each in outcomes.items() for fault in each.violations]


def corruption_table(outcomes: dict[str, Outcome]) -> Table:
    """Backend and damage x what was counted."""
    title = "Damaged behind the registry's back; wrong files and predictions must be 0"
    table = Table("store", "damage", title=title)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for name, outcome in outcomes.items():
        for how in Damage:
            counts = outcome.tallies[how].counts
            table.add_row(name, how.value, *(str(counts[column]) for column in _COLUMNS))
    return table
