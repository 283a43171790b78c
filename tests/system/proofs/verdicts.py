"""Rollouts' verdicts keep their alpha and find planted harm, over many simulated rollouts.

The controller, the judging core and the database are the real ones; the requests are drawn.
Harmless candidates must be rolled back in at most alpha of the rollouts, harmful ones in at
least nine of ten, by the test that the harm was planted for, and the candidate's share of the
requests must be the one that each phase declares. Of those with exactly the harm that is
tolerated at most alpha may be judged harmful; nobody can tell their harm from less or from more,
so many end at their deadline without a verdict and go back for that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.support.rollout_fleet import (
    ALPHA,
    HARMS,
    NO_HARM,
    Ending,
    Harm,
    proportion_interval,
    run_fleet,
)

POWER: Final = 0.9
"""Of the planted regressions, at their sizes."""

_CONSOLE: Final = Console(width=140)
_FLEET: Final = 25
_ROW: Final = 100
"""Rollouts between two rows of what was found so far, which a stopped run leaves."""

_SHARE_CONFIDENCE: Final = 0.999


@dataclass(frozen=True, slots=True)
class Setting:
    """Rollouts of one kind.

    Attributes:
        harms: Of their candidates, by turns.
        is_sound: Whether no more than alpha of them may be caught.
        at_the_edge: Whether only proven harm catches them, not the lack of a verdict.
    """

    name: str
    harms: Sequence[Harm]
    rollouts: int
    is_sound: bool
    at_the_edge: bool = False

    def catches(self, ending: Ending) -> bool:
        """Rolled back; where harm was planted, because that harm was proven."""
        if self.at_the_edge:
            return bool(ending.failed)
        return ending.is_rolled_back and (self.is_sound or ending.names_its_culprit)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many rollouts, and of what seed."""
    parser.add_argument("--rollouts", type=int, default=1000, help="of each kind (default 1000)")
    parser.add_argument("--edge", type=int, default=200, help="with exactly the tolerated harm")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1)


def prove(arguments: argparse.Namespace) -> list[str]:
    """Run every kind, print a row per hundred and a table, and give what is out of bounds."""
    settings = [
        Setting("no harm (A/A)", [NO_HARM], arguments.rollouts, is_sound=True),
        Setting("harm everywhere", HARMS["everywhere"], arguments.rollouts, is_sound=False),
        Setting("harm in 5 %", HARMS["slice"], arguments.rollouts, is_sound=False),
        Setting(
            "as much as tolerated",
            HARMS["edge"],
            arguments.edge,
            is_sound=True,
            at_the_edge=True,
        ),
    ]
    table = Table(
        *("rollouts", "harm", "n", "caught", "95 % interval", "bar", "rolled back", "looks"),
        title="Verdicts",
    )
    endings: list[Ending] = []
    violations: list[str] = []
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for number, setting in enumerate(settings):
            started = time.monotonic()
            ended = list(_ended(pool, setting, (arguments.seed + number) * 100_000))
            for row in _rows(setting, ended):
                table.add_row(*row)
            violations += _violations(setting, ended)
            endings += ended
            _CONSOLE.print(f"{setting.name}: {time.monotonic() - started:.0f} s")
    _CONSOLE.print(table)
    shares = _routed(endings)
    _CONSOLE.print(_share_table(shares))
    return violations + _misrouted(shares)


def _ended(pool: ProcessPoolExecutor, setting: Setting, seed: int) -> Iterator[Ending]:
    """How the rollouts end, fleet by fleet."""
    harms = [setting.harms[number % len(setting.harms)] for number in range(setting.rollouts)]
    fleets = [
        pool.submit(_run, harms[start : start + _FLEET], seed + start)
        for start in range(0, len(harms), _FLEET)
    ]
    ended: list[Ending] = []
    for fleet in as_completed(fleets):
        found = fleet.result()
        ended += found
        if len(ended) % _ROW < len(found) or len(ended) == len(harms):
            _CONSOLE.print(so_far(setting, ended))
        yield from found


def so_far(setting: Setting, ended: Sequence[Ending]) -> str:
    """What a kind of rollouts has come to until now, in a line."""
    caught = _caught(setting, ended)
    low, high = proportion_interval(caught, len(ended))
    return (
        f"{setting.name}: {len(ended):,} of {setting.rollouts:,}, caught {caught:,} "
        f"({caught / len(ended):.1%}, 95 % interval {low:.2%} to {high:.2%}, {_bar(setting)}), "
        f"{_looks(ended):.1f} looks each"
    )


def _bar(setting: Setting) -> str:
    return f"<= {ALPHA:.0%}" if setting.is_sound else f">= {POWER:.0%}"


def _looks(ended: Sequence[Ending]) -> float:
    return sum(each.looks for each in ended) / len(ended)


def _run(harms: list[Harm], seed: int) -> list[Ending]:
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        return run_fleet(Path(folder), harms, seed)


def _caught(setting: Setting, ended: Sequence[Ending]) -> int:
    return sum(map(setting.catches, ended))


def _rows(setting: Setting, ended: Sequence[Ending]) -> Iterator[tuple[str, ...]]:
    groups = [(harm, [each for each in ended if each.harm == harm]) for harm in setting.harms]
    if len(groups) > 1:
        groups.append((Harm(None), list(ended)))
    for harm, group in groups:
        if not group:
            continue
        caught = _caught(setting, group)
        low, high = proportion_interval(caught, len(group))
        planted = ", ".join(f"{name} {value:g}" for name, value in harm.traits.items())
        yield (
            setting.name,
            f"{harm.measure} ({planted})" if harm.measure else "all",
            f"{len(group):,}",
            f"{caught:,} ({caught / len(group):.1%})",
            f"{low:.2%} to {high:.2%}",
            _bar(setting),
            f"{sum(each.is_rolled_back for each in group):,}",
            f"{_looks(group):.1f}",
        )


def _violations(setting: Setting, ended: Sequence[Ending]) -> list[str]:
    caught = _caught(setting, ended)
    share = caught / len(ended)
    if setting.is_sound and share > ALPHA:
        return [f"{setting.name}: {share:.1%} were caught, more than {ALPHA:.0%}"]
    if not setting.is_sound and share < POWER:
        return [f"{setting.name}: {share:.1%} were caught, fewer than {POWER:.0%}"]
    return []


def _routed(endings: Sequence[Ending]) -> dict[int, tuple[int, int]]:
    """By the weight in basis points, requests of the candidate and of both versions."""
    total: dict[int, tuple[int, int]] = {}
    for ending in endings:
        for weight, (candidate, both) in ending.routed.items():
            before = total.get(weight, (0, 0))
            total[weight] = (before[0] + candidate, before[1] + both)
    return total


def _share_table(shares: dict[int, tuple[int, int]]) -> Table:
    table = Table("declared", "measured", "interval", "requests", title="Shares of the candidate")
    for weight, (candidate, both) in sorted(shares.items()):
        low, high = proportion_interval(candidate, both, _SHARE_CONFIDENCE)
        table.add_row(
            f"{weight / 10_000:.2%}",
            f"{candidate / both:.3%}",
            f"{low:.3%} to {high:.3%}",
            f"{both:,}",
        )
    return table


def _misrouted(shares: dict[int, tuple[int, int]]) -> list[str]:
    found = []
    for weight, (candidate, both) in shares.items():
        low, high = proportion_interval(candidate, both, _SHARE_CONFIDENCE)
        if not low <= weight / 10_000 <= high:
            found.append(f"{weight / 10_000:.1%} was declared, {candidate / both:.3%} was routed")
    return found
