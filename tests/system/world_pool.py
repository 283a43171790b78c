"""Simulates worlds of each nature, with each change, some at once in processes of their own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from rich.console import Console

from tests.support.drift_worlds import Change, Nature
from tests.system.alarm_tasks import NATURES

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is simulated again and again.

    Attributes:
        world: A key of `NATURES`.
        change: A key of the changes.
    """

    world: str
    change: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much is simulated."""
    parser.add_argument("--worlds", type=int, default=100, help="of each kind, for each change")
    parser.add_argument("--processes", type=int, default=2, help="at once")


def run_worlds(
    simulate: Callable[[int, Change, Nature], ResultT],
    changes: Mapping[str, Change],
    arguments: argparse.Namespace,
    console: Console,
) -> dict[Kind, list[ResultT]]:
    """What as many worlds of each kind came to.

    Args:
        simulate: Gives what a world of this seed comes to; is called in other processes.
        changes: By name.
        arguments: Those of `add_arguments`.
        console: Is told how far it is.
    """
    found: dict[Kind, list[ResultT]] = {
        Kind(world, change): [] for world in NATURES for change in changes
    }
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        running = {
            pool.submit(simulate, seed, changes[kind.change], NATURES[kind.world]): kind
            for seed in range(arguments.worlds)
            for kind in found
        }
        for done, future in enumerate(as_completed(running), 1):
            found[running[future]].append(future.result())
            if done % (10 * len(found)) == 0:
                console.print(f"{done:,} of {len(running):,} worlds", highlight=False)
    return found
