"""A model that answers by other columns is told, and what lasts while none does is rare.

Nothing of it is an alarm. All the same what lasts though nothing has changed is held to the
budget of false alarms: whoever looks there for nothing looks there no more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from services.monitor.core.resources import DriftTest
from tests.system.attribution_runs import (
    CHANGES,
    DECIDE,
    TAKE_OVER,
    WEEKS,
    WITH_THEM,
    FollowedWorld,
    followed_world,
)
from tests.system.drift_runs import share_with_interval
from tests.system.world_pool import Kind, add_arguments, run_worlds

__all__ = ["add_arguments", "prove"]

LEAST_FOUND: Final = 0.95
"""Share of the weeks in which other columns weigh, in which that is told."""

_QUIET: Final = "nothing"
_MUST_BE_FOUND: Final = "other columns weigh"
_CONSOLE: Final = Console(width=160)


def prove(arguments: argparse.Namespace) -> list[str]:
    """Simulate, print the table, and give what was violated."""
    found = run_worlds(followed_world, CHANGES, arguments, _CONSOLE)
    _CONSOLE.print(_table(found))
    return list(_violations(found))


def _share(worlds: list[FollowedWorld], hits: str) -> tuple[float, float, float]:
    return share_with_interval([getattr(each, hits) for each in worlds], [WEEKS] * len(worlds))


def _lasting(worlds: list[FollowedWorld], columns: set[str]) -> float:
    return sum(each.lasting(columns) for each in worlds) / (len(columns) * WEEKS * len(worlds))


def _violations(found: dict[Kind, list[FollowedWorld]]) -> Iterator[str]:
    budget = DriftTest().false_alarm_budget
    for kind, worlds in found.items():
        share, low, high = _share(worlds, "weeks_lasting")
        if kind.change == _QUIET and low > budget:
            yield f"{kind.world}, {kind.change}: something lasts in {share:.3f} of the weeks"
        if kind.change == _MUST_BE_FOUND and high < LEAST_FOUND:
            yield f"{kind.world}, {kind.change}: told in {share:.3f} of the weeks"


def _table(found: dict[Kind, list[FollowedWorld]]) -> Table:
    table = Table(title="50 columns; five decide, five others and what goes with them take over")
    for heading in (
        "world",
        "change",
        "weeks",
        "alarm over columns or rows",
        "alarm of any kind",
        "something moved",
        "something lasts",
        "lasts, of those that decided",
        "that take over",
        "that go with these",
        "of all others",
    ):
        table.add_column(heading)
    others = {f"n{place:03}" for place in range(49)} - DECIDE - TAKE_OVER - WITH_THEM
    for kind, worlds in found.items():
        table.add_row(
            kind.world,
            kind.change,
            f"{WEEKS * len(worlds):,}",
            *(
                "{:.3f} ({:.3f} to {:.3f})".format(*_share(worlds, hits))
                for hits in ("alarms", "named", "weeks_moved", "weeks_lasting")
            ),
            *(
                f"{_lasting(worlds, columns):.3f}"
                for columns in (DECIDE, TAKE_OVER, WITH_THEM, others | {"category"})
            ),
        )
    return table
