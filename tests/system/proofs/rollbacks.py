"""A bad candidate rolled back again and again under load: nobody's call fails, and it stops."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.system.switches import Switch, roll_back_repeatedly

_CONSOLE = Console()

LAST_BAD_P99_S: Final = 1.0
"""Longest time from the command to the bad version's last answer, of 99 in 100."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often, and under which load."""
    parser.add_argument("--times", type=int, default=100, help="roll-backs (default 100)")
    parser.add_argument("--rate", type=float, default=500.0, help="requests/s (default 500)")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Roll back and print how long the bad version went on."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        switches = asyncio.run(
            roll_back_repeatedly(Path(folder), rate_per_s=arguments.rate, times=arguments.times)
        )
    table = Table(
        *("rolled back", "times", "answers since", "failed", "last bad p50", "p99", "longest"),
        title=f"A bad candidate at 50 % of {arguments.rate:g} requests/s",
    )
    for name, some in (
        ("by hand", [each for each in switches if each.by_hand]),
        ("on FAIL", [each for each in switches if not each.by_hand]),
        ("all", switches),
    ):
        if some:
            table.add_row(name, *_figures(some))
    _CONSOLE.print(table)
    return violations(switches)


def violations(switches: list[Switch]) -> list[str]:
    """What was not as promised."""
    found = [
        f"roll-back {number}: {failure}"
        for number, switch in enumerate(switches)
        for failure in switch.failures
    ]
    p99_s = float(np.percentile([switch.last_bad_s for switch in switches], 99))
    if p99_s > LAST_BAD_P99_S:
        found.append(f"the bad version answered for {p99_s:.2f} s (p99)")
    return found


def _figures(switches: list[Switch]) -> list[str]:
    times_s = [switch.last_bad_s for switch in switches]
    return [
        str(len(switches)),
        f"{sum(switch.answers for switch in switches):,}",
        str(sum(len(switch.failures) for switch in switches)),
        f"{np.percentile(times_s, 50) * 1000:.0f} ms",
        f"{np.percentile(times_s, 99) * 1000:.0f} ms",
        f"{max(times_s) * 1000:.0f} ms",
    ]
