"""Alarms stay within the declared share of quiet weeks, and changes are found and named right."""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from rich.console import Console
from rich.table import Table

from services.monitor.core.resources import ChangeKind, DriftTest, Severity
from tests.support.drift_worlds import INDEPENDENT, SEASONAL, Nature
from tests.system.drift_runs import (
    CASES,
    WEEKS_AFTER,
    Case,
    Outcome,
    QuietWorld,
    met_change,
    quiet_world,
    share_with_interval,
)

_CONSOLE = Console()
_NATURES: Final = {"independent": INDEPENDENT, "seasonal, autocorrelated": SEASONAL}
_WEEKS_PER_WORLD: Final = 20
_MANY_COLUMNS: Final = 1000
_LEAST_FOUND: Final = 0.8
_MOST_MISTAKEN: Final = 0.2
_MISTAKEN: Final = {
    ChangeKind.LABEL_SHIFT: ChangeKind.CONCEPT_DRIFT,
    ChangeKind.CONCEPT_DRIFT: ChangeKind.LABEL_SHIFT,
}
"""What a change must not be called; that the two can't be told apart may be said."""

_CHANGED_SEEDS: Final = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much is simulated; with the defaults some 15 minutes of one core."""
    parser.add_argument("--weeks", type=int, default=1000, help="quiet ones of 50 columns")
    parser.add_argument("--wide-weeks", type=int, default=20, help="quiet ones of 1,000 columns")
    parser.add_argument("--worlds", type=int, default=6, help="per change")
    parser.add_argument("--processes", type=int, default=2, help="at once")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Simulate, print both tables, and give what is beyond the budget, missed or misnamed."""
    quiet: dict[tuple[int, str], list[QuietWorld]] = {}
    met: dict[tuple[str, str], list[Outcome]] = {}
    with ProcessPoolExecutor(arguments.processes) as pool:
        for columns, weeks in ((50, arguments.weeks), (_MANY_COLUMNS, arguments.wide_weeks)):
            seeds = range(-(-weeks // _WEEKS_PER_WORLD))
            for words, nature in _NATURES.items() if seeds else ():
                one = partial(_quiet, nature, columns, _WEEKS_PER_WORLD)
                quiet[columns, words] = worlds = []
                for world in pool.map(one, seeds):
                    worlds.append(world)
                    _print_so_far(f"{columns:,} columns, {words}", _quiet_row(worlds))
        seeds = range(_CHANGED_SEEDS, _CHANGED_SEEDS + arguments.worlds)
        for words, nature in _NATURES.items():
            for case in CASES:
                met[case.words, words] = list(pool.map(partial(_met, case, nature), seeds))
                _print_so_far(f"{case.words}, {words}", _met_row(met[case.words, words]))
    _CONSOLE.print(quiet_table(quiet), change_table(met))
    return [*_beyond_budget(quiet), *_missed(met)]


def _print_so_far(what: str, row: Sequence[str]) -> None:
    """A run that is stopped leaves the figures it has."""
    _CONSOLE.print(f"{what}: {'; '.join(row)}", highlight=False, soft_wrap=True)


def quiet_table(quiet: dict[tuple[int, str], list[QuietWorld]]) -> Table:
    """A row per kind of world and number of columns: share of weeks with a false alarm."""
    columns = ("columns", "world", "weeks", "ours", "pages", "BH q<.05", "an effect>=.1", "by")
    table = Table(*columns, title="Share of quiet weeks with a false alarm")
    for (width, words), worlds in quiet.items():
        table.add_row(f"{width:,}", words, *_quiet_row(worlds))
    table.add_row("any", "always fires", "", "1.000", "", "", "", "")
    table.add_row("any", "never fires", "", "0.000", "", "", "", "")
    return table


def change_table(met: dict[tuple[str, str], list[Outcome]]) -> Table:
    """A row per change: how often and when it was found, and what it was called."""
    columns = ("change", "world", "found", "weeks to it", "called", "severity")
    table = Table(*columns, title=f"Changes, found within {WEEKS_AFTER} weeks")
    for (change, words), outcomes in met.items():
        table.add_row(change, words, *_met_row(outcomes))
    table.add_row("any", "always fires", "all", "1", "", "")
    table.add_row("any", "never fires", "none", "-", "", "")
    return table


def _quiet_row(worlds: Sequence[QuietWorld]) -> list[str]:
    weeks = [each.weeks for each in worlds]
    share, low, high = share_with_interval([each.alarms for each in worlds], weeks)
    rest = [
        share_with_interval([getattr(each, name) for each in worlds], weeks)[0]
        for name in ("pages", "chance", "floor")
    ]
    by = sum((each.by for each in worlds), Counter[str]())
    return [
        f"{sum(weeks):,}",
        f"{share:.3f} ({low:.3f} to {high:.3f})",
        *(f"{each:.3f}" for each in rest),
        ", ".join(f"{name} {times}" for name, times in by.most_common()),
    ]


def _met_row(outcomes: Sequence[Outcome]) -> list[str]:
    delays = [each.delay_weeks for each in outcomes if each.delay_weeks is not None]
    names = Counter(each.settled.value for each in outcomes if each.delay_weeks is not None)
    severities = Counter(each.severity.value for each in outcomes if each.delay_weeks is not None)
    return [
        f"{len(delays)}/{len(outcomes)}",
        f"{statistics.median(delays):g}" if delays else "-",
        ", ".join(f"{name} {times}" for name, times in names.most_common()),
        ", ".join(f"{name} {times}" for name, times in severities.most_common()),
    ]


def _quiet(nature: Nature, columns: int, weeks: int, seed: int) -> QuietWorld:
    return quiet_world(seed, nature, columns, weeks)


def _met(case: Case, nature: Nature, seed: int) -> Outcome:
    return met_change(seed, case, nature)


def _beyond_budget(quiet: dict[tuple[int, str], list[QuietWorld]]) -> list[str]:
    budget = DriftTest().false_alarm_budget
    violations = []
    for (columns, words), worlds in quiet.items():
        weeks = [each.weeks for each in worlds]
        share, low, _ = share_with_interval([each.alarms for each in worlds], weeks)
        if low > budget:
            violations.append(f"{words}, {columns}: {share:.3f} of weeks, {budget} declared")
    return violations


def _missed(met: dict[tuple[str, str], list[Outcome]]) -> list[str]:
    """In worlds that don't wander; in others a small change may be what happens by itself."""
    expected = {case.words: case.expected for case in CASES}
    violations = []
    for (change, words), outcomes in met.items():
        kind = expected[change]
        right = sum(each.settled is kind for each in outcomes) / len(outcomes)
        if _NATURES[words] is INDEPENDENT and right < _LEAST_FOUND:
            violations.append(f"{change}: {right:.2f} found and called {kind.value}")
        mistaken = sum(each.settled is _MISTAKEN.get(kind) for each in outcomes) / len(outcomes)
        if mistaken > _MOST_MISTAKEN:
            violations.append(f"{change}, {words}: {mistaken:.2f} called {_MISTAKEN[kind].value}")
        if any(
            each.name is ChangeKind.DATA_DRIFT and each.severity is Severity.PAGE
            for each in outcomes
        ):
            violations.append(f"{change}, {words}: drift of features paged somebody")
    return violations
