"""Versions swapped again and again under load: memory and latency stay as they were."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.system.switches import Swap, swap_repeatedly

_CONSOLE = Console()

MAX_RSS_GROWTH: Final = 0.1
"""Of the memory from the first part of the swaps to the last."""

MAX_P99_GROWTH: Final = 0.5
"""Of the latency likewise: of the median swap, since one pause of the machine is no trend."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often, and under which load."""
    parser.add_argument("--times", type=int, default=1000, help="swaps (default 1000)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests/s (default 200)")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Swap and print the first, the middle and the last tenth."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        swaps = asyncio.run(
            swap_repeatedly(Path(folder), rate_per_s=arguments.rate, times=arguments.times)
        )
    table = Table(
        *(
            "swaps",
            "memory",
            "p50",
            "p99",
            "p99 of the median swap",
            "answers",
            "failed",
            "a swap took",
        ),
        title=f"{len(swaps)} swaps at {arguments.rate:g} requests/s",
    )
    tenth = max(1, len(swaps) // 10)
    middle = (len(swaps) - tenth) // 2
    for start in sorted({0, middle, len(swaps) - tenth}):
        table.add_row(f"{start + 1} to {start + tenth}", *_figures(swaps[start : start + tenth]))
    _CONSOLE.print(table)
    return violations(swaps)


def violations(swaps: list[Swap]) -> list[str]:
    """What was not as promised."""
    found = [
        f"swap {number}: {failure}"
        for number, swap in enumerate(swaps)
        for failure in swap.failures
    ]
    tenth = max(1, len(swaps) // 10)
    first, last = swaps[:tenth], swaps[-tenth:]
    for what, of, limit in (
        ("memory", _rss_bytes, MAX_RSS_GROWTH),
        ("p99", _p99_of_the_median_swap_s, MAX_P99_GROWTH),
    ):
        growth = of(last) / of(first) - 1
        if growth > limit:
            found.append(f"{what} grew by {growth:.0%} from the first tenth to the last")
    return found


def _rss_bytes(swaps: list[Swap]) -> float:
    return float(np.median([swap.rss_bytes for swap in swaps]))


def _p99_of_the_median_swap_s(swaps: list[Swap]) -> float:
    return float(np.median([np.percentile(swap.latencies_s, 99) for swap in swaps]))


def _latency_s(swaps: list[Swap], percent: float) -> float:
    return float(np.percentile([each for swap in swaps for each in swap.latencies_s], percent))


def _figures(swaps: list[Swap]) -> list[str]:
    return [
        f"{_rss_bytes(swaps) / 2**20:.1f} MiB",
        f"{_latency_s(swaps, 50) * 1000:.1f} ms",
        f"{_latency_s(swaps, 99) * 1000:.1f} ms",
        f"{_p99_of_the_median_swap_s(swaps) * 1000:.1f} ms",
        f"{sum(len(swap.latencies_s) for swap in swaps):,}",
        str(sum(len(swap.failures) for swap in swaps)),
        f"{np.median([swap.took_s for swap in swaps]):.2f} s",
    ]
