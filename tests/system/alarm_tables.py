"""What the simulated worlds came to, as figures and as tables for people."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from rich.table import Table

from benchmarks.harness import Row
from tests.system.alarm_tasks import PEER_WEEKS, Result, Task
from tests.system.drift_runs import (
    CASES,
    WARM_UP_WEEKS,
    WEEKS_AFTER,
    Outcome,
    QuietWorld,
    share_with_interval,
)

MONITOR: Final = "the monitor"
FIRST_WEEKS: Final = "the monitor, first weeks after deployment"
_ALWAYS: Final = "always fires"
_NEVER: Final = "never fires"
_CASES: Final = {case.words: case for case in CASES}

Results: TypeAlias = Mapping[Task, Result]


@dataclass(slots=True)
class QuietWeeks:
    """What one rule said of quiet weeks, world by world."""

    columns: int
    world: str
    rule: str
    alarms: list[int] = field(default_factory=list)
    weeks: list[int] = field(default_factory=list)

    @property
    def share(self) -> tuple[float, float, float]:
        """Of weeks with an alarm, and its 95 % interval."""
        return share_with_interval(self.alarms, self.weeks)


@dataclass(slots=True)
class Met:
    """How one rule met one change, world by world.

    Attributes:
        delays: Weeks from the change to the first alarm, 1 at the least; None without one.
        early: Worlds with an alarm in the quiet weeks before.
        outcomes: What the monitor called it.
    """

    case: str
    world: str
    rule: str
    delays: list[int | None] = field(default_factory=list)
    early: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def found(self) -> list[int]:
        """The delays of the worlds in which it was found."""
        return [delay for delay in self.delays if delay is not None]

    @property
    def named_right(self) -> float:
        """Share of worlds in which it was found and mostly called what it is."""
        right = [each.settled is _CASES[self.case].expected for each in self.outcomes]
        return sum(right) / max(len(right), 1)


def quiet_weeks(results: Results) -> list[QuietWeeks]:
    """By number of columns, kind of world and rule."""
    found: dict[tuple[int, str, str], QuietWeeks] = {}
    for task, result in results.items():
        if not task.case:
            for rule, alarms, weeks in _rules(result):
                key = (task.columns, task.world, rule)
                row = found.setdefault(key, QuietWeeks(*key))
                row.alarms.append(alarms)
                row.weeks.append(weeks)
    return sorted(found.values(), key=lambda row: (row.columns, row.world))


def met(results: Results) -> list[Met]:
    """By change, kind of world and rule, in the order of the cases."""
    found: dict[tuple[str, str, str], Met] = {}
    for task, result in results.items():
        if not task.case:
            continue
        quiet = _CASES[task.case].quiet_weeks
        for rule, weeks in _alarms(result, quiet).items():
            key = (task.case, task.world, rule)
            row = found.setdefault(key, Met(*key))
            changed = weeks[quiet:]
            row.delays.append(changed.index(True) + 1 if any(changed) else None)
            row.early += any(weeks[:quiet])
            if isinstance(result, Outcome):
                row.outcomes.append(result)
    places = {words: place for place, words in enumerate(_CASES)}
    return sorted(found.values(), key=lambda row: (row.world, places[row.case]))


def _rules(result: Result) -> Iterator[tuple[str, int, int]]:
    """Rule, quiet weeks with an alarm, quiet weeks."""
    if isinstance(result, QuietWorld):
        yield MONITOR, result.alarms, result.weeks
        yield f"{MONITOR}, pages", result.pages, result.weeks
        yield FIRST_WEEKS, result.first_alarms, WARM_UP_WEEKS
        yield "q < .05 in one week", result.chance, result.weeks
        yield "an effect of .1", result.floor, result.weeks
    elif isinstance(result, dict):
        for rule, said in result.items():
            yield rule, sum(said[WARM_UP_WEEKS:]), PEER_WEEKS


def _alarms(result: Result, quiet: int) -> dict[str, list[bool]]:
    """Whether each rule fired, week by week; of the monitor's, the first alarm is enough."""
    if isinstance(result, dict):
        return result
    assert isinstance(result, Outcome)
    changed = [week == result.delay_weeks for week in range(1, WEEKS_AFTER + 1)]
    return {MONITOR: [result.early] * quiet + changed}


def quiet_table(rows: Sequence[QuietWeeks]) -> Table:
    """A row per number of columns, kind of world and rule."""
    columns = ("columns", "world", "rule", "weeks", "share with a false alarm (95 %)")
    table = Table(*columns, title="Quiet weeks")
    for row in rows:
        share, low, high = row.share
        words = f"{share:.3f} ({low:.3f} to {high:.3f})"
        table.add_row(f"{row.columns:,}", row.world, row.rule, f"{sum(row.weeks):,}", words)
    for rule, share in ((_ALWAYS, 1), (_NEVER, 0)):
        table.add_row("any", "any", rule, "", f"{share:.3f}")
    return table


def met_table(rows: Sequence[Met]) -> Table:
    """A row per change and kind of world: how the monitor met it."""
    columns = ("change", "world", "found", "weeks to it", "called", "severity")
    table = Table(*columns, title=f"Changes, looked for during {WEEKS_AFTER} weeks")
    for row in (row for row in rows if row.rule == MONITOR):
        seen = [each for each in row.outcomes if each.delay_weeks is not None]
        table.add_row(
            row.case,
            row.world,
            f"{len(row.found)} of {len(row.delays)}",
            f"{statistics.median(row.found):g}" if row.found else "-",
            _counted([each.settled.value for each in seen]),
            _counted([each.severity.value for each in seen]),
        )
    return table


def rules_table(rows: Sequence[Met]) -> Table:
    """A row per change and kind of world, a column per rule: what each found and when.

    A rule that fired before the change too has found nothing: how often is said beside it.
    Changes that no peer was shown are left out.
    """
    shown = {(row.case, row.world) for row in rows if row.rule != MONITOR}
    rows = [row for row in rows if (row.case, row.world) in shown]
    rules = list(dict.fromkeys(row.rule for row in rows))
    title = "Found (weeks to it), fired before the change too"
    table = Table("change", "world", *rules, _ALWAYS, _NEVER, title=title)
    cells = {(row.case, row.world, row.rule): row for row in rows}
    for case, world in dict.fromkeys((row.case, row.world) for row in rows):
        of_rules = (cells.get((case, world, rule)) for rule in rules)
        before = ", all before" if _CASES[case].quiet_weeks else ""
        words = [_found(row) if row else "" for row in of_rules]
        table.add_row(case, world, *words, f"all (1){before}", "none")
    return table


def rows_of(quiet: Sequence[QuietWeeks], changes: Sequence[Met]) -> list[Row]:
    """All figures, for programs."""
    rows = []
    for each in quiet:
        share, low, high = each.share
        facts = {"weeks": sum(each.weeks), "alarms": sum(each.alarms), "low": low, "high": high}
        name = f"{each.rule}; {each.columns} columns, {each.world}"
        rows.append(Row(name, "share of quiet weeks with an alarm", share, facts=facts))
    for change in changes:
        facts = {"worlds": len(change.delays), "fired_before": change.early}
        if change.found:
            facts["median_weeks"] = statistics.median(change.found)
        if change.outcomes:
            facts["named_right"] = change.named_right
        name = f"{change.rule}; {change.case}; {change.world}"
        share_found = len(change.found) / len(change.delays)
        rows.append(Row(name, "share of worlds in which it is found", share_found, facts=facts))
    return rows


def _found(row: Met) -> str:
    weeks = f" ({statistics.median(row.found):g})" if row.found else ""
    before = f", {row.early} before" if row.early else ""
    return f"{len(row.found)} of {len(row.delays)}{weeks}{before}"


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{word} {times}" for word, times in Counter(words).most_common())
