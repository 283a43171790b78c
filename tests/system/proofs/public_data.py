"""Public data with known changes: what is an alarm before them, and when and how they are found.

Evidently, NannyML and River judge the same rows, each with its defaults. The data come with
NannyML's package; what changed stands in its documentation, or is seen in the rows.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from services.monitor.core.resources import ChangeKind, DriftReport, DriftTest
from tests.system import peer_runs
from tests.system.drift_runs import judged
from tests.system.peer_runs import Columns, Said
from tests.system.public_sets import SETS, PublicSet, sights

_CONSOLE: Final = Console(width=140)
_OURS: Final = "the monitor"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule said of one set.

    Attributes:
        early: Weeks with an alarm of the `quiet` ones.
        delay_rows: From the change to the end of the first week with an alarm; None without one.
        found: Weeks with an alarm, of the `changed` ones.
    """

    rule: str
    early: int
    quiet: int
    delay_rows: int | None
    found: int
    changed: int

    @classmethod
    def of(cls, rule: str, alarms: Sequence[bool], known: PublicSet) -> Finding:
        """From whether each week has an alarm."""
        before, after = alarms[: known.quiet_weeks], alarms[known.quiet_weeks :]
        delay = known.rows * (after.index(True) + 1) if any(after) else None
        return cls(rule, sum(before), len(before), delay, sum(after), len(after))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether the peers judge too; with them some ten minutes of one core."""
    parser.add_argument("--without-peers", action="store_true", help="judge with the monitor alone")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Print a table per set; give known changes that were missed, and alarms before them."""
    if not peer_runs.are_installed():
        return ["no data: run `python tools/isolated_env.py drift_peers` first"]
    test, violations = DriftTest(), []
    for known in SETS:
        before, weeks = known.before(), known.weeks()
        reports = list(judged(sights(before, weeks), test))
        said: Said = {_OURS: [report.change is not ChangeKind.NONE for report in reports]}
        if not arguments.without_peers:
            said |= peer_runs.said_by_peers(before, weeks)
        said |= {"always fires": [True] * len(weeks), "never fires": [False] * len(weeks)}
        found = [Finding.of(rule, alarms, known) for rule, alarms in said.items()]
        _CONSOLE.print(findings_table(known, found), summary(known, weeks, reports))
        violations += violated(known, found[0], reports, test)
    return violations


def findings_table(known: PublicSet, found: Sequence[Finding]) -> Table:
    """A row per rule."""
    columns = ("rule", "weeks with an alarm before", "rows to the first after", "weeks after")
    title = f"{known.name}, {known.rows:,} rows a week; {known.known}"
    table = Table(*columns, title=title)
    for each in found:
        delay = "-" if each.delay_rows is None else f"{each.delay_rows:,}"
        table.add_row(
            each.rule, f"{each.early} of {each.quiet}", delay, f"{each.found} of {each.changed}"
        )
    return table


def summary(known: PublicSet, weeks: Sequence[Columns], reports: Sequence[DriftReport]) -> str:
    """What the monitor called it, which features it named, and how good the model was."""
    before, after = slice(known.quiet_weeks), slice(known.quiet_weeks, None)
    return "\n".join(
        [
            f"Before: {_said(weeks[before], reports[before])}",
            f"After: {_said(weeks[after], reports[after])}",
            f"Known to have changed: {', '.join(sorted(known.changed))}.",
        ]
    )


def _said(weeks: Sequence[Columns], reports: Sequence[DriftReport]) -> str:
    called = Counter(f"{each.change.value} ({each.severity.value})" for each in reports)
    counted = ", ".join(f"{name} {times}" for name, times in called.most_common())
    features = ", ".join(sorted(_drifted(reports))) or "nothing"
    right = [float(np.mean((week["score"] >= 0.5) == (week["label"] == 1))) for week in weeks]
    return f"{counted}; drifted: {features}; accuracy {min(right):.3f} to {max(right):.3f}."


def violated(
    known: PublicSet, found: Finding, reports: Sequence[DriftReport], test: DriftTest
) -> list[str]:
    """Known changes of features that were not found, and alarms before beyond the budget."""
    missed = known.changed - _drifted(reports[known.quiet_weeks :])
    violations = [f"{known.name}: {feature} was not found" for feature in sorted(missed)]
    share = stats.binomtest(found.early, found.quiet)
    if share.proportion_ci().low > test.false_alarm_budget:
        violations.append(
            f"{known.name}: {found.early} of {found.quiet} weeks before have an alarm"
        )
    return violations


def _drifted(reports: Sequence[DriftReport]) -> set[str]:
    return {feature for report in reports for feature in report.drifted_features}
