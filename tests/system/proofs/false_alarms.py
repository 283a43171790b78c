"""Alarms stay within the declared share of quiet weeks, and changes are found and named right.

Evidently, NannyML and River are shown some of the same weeks, each with its defaults. What is
done is kept as it comes: the same command goes on where one was stopped, as long as the code that
judges is the same.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import harness
from benchmarks.harness import Bar, Report
from services.monitor.core.resources import ChangeKind, DriftTest, Severity
from tests.system import peer_runs
from tests.system.alarm_oracle import best_possible, oracle_rows, oracle_table
from tests.system.alarm_tables import (
    FIRST_WEEKS,
    MONITOR,
    Met,
    met,
    met_table,
    quiet_table,
    quiet_weeks,
    rows_of,
    rules_table,
)
from tests.system.alarm_tasks import Result, Task, kept, tasks
from tests.system.drift_runs import CASES
from tests.system.journal import Journal, digest_of

_CONSOLE: Final = Console()
_RESULTS: Final = harness.RESULTS / "false-alarms.json"
_ROOT: Final = Path(__file__).resolve().parents[3]
_CORE: Final = "services/monitor/core/"
_BASIS: Final = (
    *("services/common/profiles.py", "services/common/sketches.py"),
    *(f"{_CORE}{name}.py" for name in ("alarms", "calibration", "concept", "course", "detecting")),
    *(f"{_CORE}{name}.py" for name in ("estimating", "histograms", "memory", "moderation")),
    *(
        f"{_CORE}{name}.py"
        for name in ("naming", "outcome_changes", "quality", "wander", "stream/samples")
    ),
    *(f"{_CORE}{folder}/*.py" for folder in ("detectors", "faults")),
    *("tests/support/drift_worlds.py", "tests/system/drift_runs.py"),
    *("tests/system/alarm_tasks.py", "tests/system/drift_peers.py"),
    "tools/environments/drift_peers.txt",
)
"""What the figures depend on, beside the default test: files, and those of whole folders."""

_LEAST_FOUND: Final = 0.8
_MOST_MISTAKEN: Final = 0.2
_MISTAKEN: Final = {
    ChangeKind.LABEL_SHIFT: ChangeKind.CONCEPT_DRIFT,
    ChangeKind.CONCEPT_DRIFT: ChangeKind.LABEL_SHIFT,
    ChangeKind.DATA_DRIFT: ChangeKind.SERVING_SKEW,
    ChangeKind.SERVING_SKEW: ChangeKind.DATA_DRIFT,
}
"""What a change must not be called; that two can't be told apart may be said."""

_LIMITS: Final = (
    "Simulated worlds, 300 rows a day, weekly windows, all outcomes known; 56 days of training. "
    "An interval is that of independent weeks, or wider where the worlds differ. Peers judge each "
    "week alone and name nothing; they see fewer worlds, with 50 columns."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much is simulated."""
    parser.add_argument("--weeks", type=int, default=1000, help="quiet ones of 50 columns")
    parser.add_argument("--wide-weeks", type=int, default=1000, help="quiet ones of 1,000 columns")
    parser.add_argument("--worlds", type=int, default=6, help="per change")
    parser.add_argument("--peer-worlds", type=int, default=2, help="that peers are shown too")
    parser.add_argument("--minutes", type=float, help="begin nothing new after as many")
    parser.add_argument("--processes", type=int, default=2, help="at once")


def prove(arguments: argparse.Namespace) -> list[str]:
    """Simulate what is missing, print the tables, and give what was violated."""
    wanted = tasks(
        weeks=arguments.weeks,
        wide_weeks=arguments.wide_weeks,
        worlds=arguments.worlds,
        peer_worlds=arguments.peer_worlds,
    )
    failures = []
    if not peer_runs.are_installed():
        wanted = [task for task in wanted if task.who != "peers"]
        failures.append("peers: run `python tools/isolated_env.py drift_peers` first")
    basis = digest_of(path for pattern in _BASIS for path in _ROOT.glob(pattern))
    journal = Journal(_RESULTS.with_suffix(".jsonl"), f"{basis} {DriftTest()}")
    until = None if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    for task in _done(wanted, journal, arguments.processes, until):
        _CONSOLE.print(f"{task.key}: {journal[task.key]}", highlight=False, soft_wrap=True)
    results = {task: task.read(journal[task.key]) for task in wanted if task.key in journal}
    if len(results) < len(wanted):
        missing = f"{len(wanted) - len(results):,} of {len(wanted):,} worlds"
        failures.append(f"{missing}: the time was up; the same command goes on")
    return _judged(results, failures)


def _done(
    wanted: Sequence[Task], journal: Journal, processes: int, until: float | None
) -> Iterator[Task]:
    """Do what is not in the journal yet; gives each piece once it is."""
    # Two processes of two threads each would be in each other's way.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    left = iter([task for task in wanted if task.key not in journal])
    running = {}
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        while True:
            while len(running) < processes and (until is None or time.monotonic() < until):
                task = next(left, None)
                if task is None:
                    break
                running[pool.submit(task.run)] = task
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                journal.put(task.key, kept(future.result()))
                yield task


def _judged(results: dict[Task, Result], failures: Sequence[str]) -> list[str]:
    quiet, changes = quiet_weeks(results), met(results)
    budget = DriftTest().false_alarm_budget
    bars = []
    for row in quiet:
        if row.rule in (MONITOR, FIRST_WEEKS):
            share, low, _ = row.share
            name = f"{row.rule}; {row.columns} columns, {row.world}"
            bars.append(Bar(name, "share of quiet weeks", share, budget, low <= budget))
    best = best_possible()
    report = Report(
        rows=[*rows_of(quiet, changes), *oracle_rows(best)],
        bars=bars,
        limits=_LIMITS,
        tables=[
            quiet_table(quiet),
            met_table(changes),
            rules_table(changes),
            oracle_table(best),
        ],
        failures=failures,
    )
    harness.publish(report, _RESULTS)
    beyond = [f"{bar.name}: {bar.value:.3f}, {budget} declared" for bar in bars if not bar.met]
    return [*beyond, *_missed([row for row in changes if row.rule == MONITOR])]


def _missed(changes: Sequence[Met]) -> list[str]:
    """In worlds that don't wander; in others a small change may be what happens by itself."""
    expected = {case.words: case.expected for case in CASES}
    violations = []
    for row in changes:
        kind = expected[row.case]
        if row.world == "independent" and row.named_right < _LEAST_FOUND:
            violations.append(f"{row.case}: {row.named_right:.2f} found and called {kind.value}")
        wrong = _MISTAKEN.get(kind)
        mistaken = sum(each.settled is wrong for each in row.outcomes) / len(row.outcomes)
        if mistaken > _MOST_MISTAKEN:
            violations.append(f"{row.case}, {row.world}: {mistaken:.2f} called {wrong}")
        if any(
            each.name in (ChangeKind.DATA_DRIFT, ChangeKind.SERVING_SKEW)
            and each.severity is Severity.PAGE
            for each in row.outcomes
        ):
            violations.append(f"{row.case}, {row.world}: drift of features paged somebody")
    return violations
