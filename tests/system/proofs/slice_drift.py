"""A change in a twentieth of the rows is told where it is, and what lasts without one is rare.

Nothing of it is an alarm. All the same what lasts in some slice, though nothing has changed in
it, is held to the budget of false alarms: whoever looks there for nothing looks there no more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from services.monitor.core.resources import DriftTest
from tests.system.drift_runs import share_with_interval
from tests.system.slice_runs import CHANGES, WEEKS, SlicedWorld, sliced_world
from tests.system.world_pool import Kind, add_arguments, run_worlds

__all__ = ["add_arguments", "prove"]

LEAST_FOUND: Final = 0.8
"""Of the columns that 1 sd has shifted."""

_MUST_BE_FOUND: Final = "shift of 1 sd"
_CONSOLE: Final = Console(width=140)


def prove(arguments: argparse.Namespace) -> list[str]:
    """Simulate, print the table, and give what was violated."""
    found = run_worlds(sliced_world, CHANGES, arguments, _CONSOLE)
    _CONSOLE.print(_table(found))
    return list(_violations(found))


def _share(worlds: list[SlicedWorld], hits: str) -> tuple[float, float, float]:
    return share_with_interval([getattr(each, hits) for each in worlds], [WEEKS] * len(worlds))


def _found(worlds: list[SlicedWorld]) -> float | None:
    planted = sum(each.planted for each in worlds)
    return sum(each.found for each in worlds) / planted if planted else None


def _violations(found: dict[Kind, list[SlicedWorld]]) -> Iterator[str]:
    budget = DriftTest().false_alarm_budget
    for kind, worlds in found.items():
        share, low, _ = _share(worlds, "weeks_lasting")
        if low > budget:
            yield f"{kind.world}, {kind.change}: something lasts in {share:.3f} of the weeks"
        told = _found(worlds)
        if kind.change == _MUST_BE_FOUND and told is not None and told < LEAST_FOUND:
            yield f"{kind.world}, {kind.change}: {told:.2f} of what has changed is found"


def _table(found: dict[Kind, list[SlicedWorld]]) -> Table:
    table = Table(title="50 columns in five slices; a change is in the smallest, 5 % of the rows")
    for heading in (
        "world",
        "change",
        "weeks",
        "alarm over all rows",
        "elsewhere: something stands out",
        "something lasts",
        "changed columns that last",
    ):
        table.add_column(heading)
    for kind, worlds in found.items():
        told = _found(worlds)
        table.add_row(
            kind.world,
            kind.change,
            f"{WEEKS * len(worlds):,}",
            *(
                "{:.3f} ({:.3f} to {:.3f})".format(*_share(worlds, hits))
                for hits in ("alarms", "weeks_out", "weeks_lasting")
            ),
            "" if told is None else f"{told:.3f}",
        )
    return table
