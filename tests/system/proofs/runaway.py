"""A runaway search and a storm of retries spend what they may, and requests don't feel them.

The trainer is confined to all cores but the first, as docs/training.md advises beside services.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.system.runaway import Bill, Runaway, run_away

P99_RISE: Final = 0.10
"""Of a request's time beside a busy trainer, over that beside an idle one."""

_CONSOLE: Final = Console(width=140)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long, and under which load."""
    parser.add_argument("--rounds", type=int, default=5, help="idle and busy, in turn (default 5)")
    parser.add_argument("--seconds", type=int, default=30, help="of each half (default 30)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests/s (default 100)")
    others = f"1-{(os.cpu_count() or 2) - 1}"
    parser.add_argument("--trainer-cpus", default=others, help=f"its cores (default {others})")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run both jobs out of money under load and print the bills and the times of requests."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        found = asyncio.run(
            run_away(
                Path(folder),
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                rate_per_s=arguments.rate,
                trainer_cpus=arguments.trainer_cpus,
            )
        )
    table = Table("job", "ended", "attempts", "budget", "cost", "ledger", "by the clock")
    for bill in found.bills:
        figures = (bill.attempts, bill.budget, bill.cost, bill.ledger, bill.clock)
        table.add_row(bill.job.rpartition("/")[2], bill.state, *(f"{each:g}" for each in figures))
    _CONSOLE.print(table)
    times = Table("trainer", "calls", "p50, ms", "p99, ms", "p99.9, ms")
    for name, took_ms in (("idle", found.quiet_ms), ("busy", found.busy_ms)):
        quantiles = np.percentile(took_ms, [50, 99, 99.9])
        times.add_row(name, f"{len(took_ms):,}", *(f"{each:.2f}" for each in quantiles))
    _CONSOLE.print(times)
    return [*overspent(found.bills), *found.failures, *_slowed(found)]


def overspent(bills: list[Bill]) -> list[str]:
    """Jobs that did not end with their budget, or whose bill is not what the clock says."""
    return [
        f"{bill} does not add up"
        for bill in bills
        if bill.state != "BUDGET_EXCEEDED"
        or bill.cost > bill.budget
        or bill.cost != bill.ledger
        or not bill.clock - bill.attempts <= bill.cost <= bill.clock
    ]


def _slowed(found: Runaway) -> list[str]:
    idle, busy = (float(np.percentile(each, 99)) for each in (found.quiet_ms, found.busy_ms))
    if busy <= idle * (1 + P99_RISE):
        return []
    return [f"the p99 of requests rose from {idle:.2f} to {busy:.2f} ms beside a busy trainer"]
