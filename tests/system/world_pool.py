"""Runs simulated worlds of several kinds, some at once in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Protocol, TypeVar

from rich.console import Console

ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Kind(Protocol[ResultT_co]):
    """What is simulated again and again; pickled for the processes."""

    def run(self, seed: int) -> ResultT_co:
        """One world."""
        ...


def run_worlds(
    kinds: Sequence[Kind[ResultT]], *, worlds: int, processes: int, console: Console
) -> list[list[ResultT]]:
    """What as many worlds of each kind came to, in the order of the kinds."""
    found: list[list[ResultT]] = [[] for _ in kinds]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        running = {
            pool.submit(kind.run, seed): place
            for seed in range(worlds)
            for place, kind in enumerate(kinds)
        }
        for done, future in enumerate(as_completed(running), 1):
            found[running[future]].append(future.result())
            if done % (10 * len(kinds)) == 0:
                console.print(f"{done:,} of {len(running):,} worlds", highlight=False)
    return found
