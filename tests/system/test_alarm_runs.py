"""The proof of false alarms counts what it simulates, and goes on where it was stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.monitor.core.resources import ChangeKind, Severity
from tests.support.drift_worlds import (
    HELD_OUT_WEEKS,
    INDEPENDENT,
    QUIET,
    SEASONAL,
    TRAINING_WEEKS,
    WEEK_DAYS,
    Change,
    DriftWorld,
)
from tests.system.alarm_oracle import Best, best_possible, oracle_rows, strongest
from tests.system.alarm_tables import MONITOR, met, quiet_weeks, rows_of
from tests.system.alarm_tasks import PEER_WEEKS, Task, kept, tasks
from tests.system.drift_runs import CASES, WARM_UP_WEEKS, Outcome, QuietWorld
from tests.system.journal import Journal
from tests.system.peer_runs import drawn_weeks

SHIFT = next(case for case in CASES if case.words == "shift of .5 sd")
QUIET_TASK = Task("monitor", "independent", 50, "", 3)


def test_the_peers_are_shown_the_rows_that_the_detectors_judge():
    changes = [QUIET, Change(shift=1.0)]
    before, shown = drawn_weeks(3, changes, nature=INDEPENDENT, columns=16)

    world = DriftWorld(3, nature=INDEPENDENT, columns=16)
    trained_on = world.profile()
    weeks = [world.days(7, change) for change in changes]
    assert len(before["label"]) == trained_on.n
    for week, columns in zip(weeks, shown, strict=True):
        assert set(columns) == {*week.columns, "score", "label"}
        assert np.array_equal(columns["score"], week.scores)
        assert np.array_equal(columns["label"], week.labels)
        for name, values in week.columns.items():
            assert np.array_equal(columns[name], values)


def test_a_journal_goes_on_after_a_kill_and_begins_anew_on_another_basis(tmp_path):
    path = tmp_path / "kept" / "j.jsonl"
    journal = Journal(path, "one")
    journal.put("a", {"x": 1})
    journal.put("b", [2])
    with path.open("a") as file:
        file.write('{"of": "c", "i')
    again = Journal(path, "one")
    assert again["a"] == {"x": 1}
    assert again["b"] == [2]
    assert "c" not in again
    again.put("c", 3)
    assert Journal(path, "one")["c"] == 3
    assert "a" not in Journal(path, "other")


@pytest.mark.parametrize(
    ("task", "result"),
    [
        (QUIET_TASK, QuietWorld(20, 1, 0, 0, 2, 20, {"numeric": 1})),
        (
            Task("monitor", "independent", 50, SHIFT.words, 3),
            Outcome(3, ChangeKind.DATA_DRIFT, ChangeKind.DATA_DRIFT, Severity.TICKET, False),
        ),
        (Task("peers", "independent", 50, "", 3), {"one": [True, False]}),
    ],
)
def test_what_is_kept_is_read_back(task, result):
    assert task.read(json.loads(json.dumps(kept(result)))) == result


def test_a_run_that_is_stopped_early_has_done_some_of_everything():
    every = tasks(weeks=200, wide_weeks=100, worlds=4, peer_worlds=2)
    assert len({task.key for task in every}) == len(every)
    kinds = {(task.who, task.columns, task.world, task.case) for task in every}
    assert len(kinds) == 2 * (3 + 2 * len(CASES))
    half = every[: len(every) // 2]
    assert {(task.who, task.columns, task.world, task.case) for task in half} == kinds


def test_quiet_weeks_and_changes_are_counted_by_rule():
    said = [False] * WARM_UP_WEEKS + [True] + [False] * (PEER_WEEKS - 1)
    late = [True, *[False] * SHIFT.quiet_weeks, True]
    results = {
        QUIET_TASK: QuietWorld(20, 1, 0, 0, 2, 20, {}),
        Task("monitor", "independent", 50, "", 4): QuietWorld(20, 0, 1, 0, 2, 20, {}),
        Task("peers", "independent", 50, "", 3): {"a peer": said},
        Task("peers", "independent", 50, SHIFT.words, 3): {"a peer": late},
        Task("monitor", "independent", 50, SHIFT.words, 3): Outcome(
            3, ChangeKind.DATA_DRIFT, ChangeKind.DATA_DRIFT, Severity.TICKET, False
        ),
        Task("monitor", "independent", 50, SHIFT.words, 4): Outcome(
            None, ChangeKind.NONE, ChangeKind.NONE, Severity.NONE, False
        ),
    }
    quiet, changes = quiet_weeks(results), met(results)
    shares = {row.rule: row.share[0] for row in quiet}
    assert shares[MONITOR] == 1 / 40
    assert shares[f"{MONITOR}, first weeks after deployment"] == 1 / 6
    assert shares["a peer"] == 1 / PEER_WEEKS
    found = {row.rule: (row.found, len(row.delays), row.early) for row in changes}
    assert found == {MONITOR: ([3], 2, 0), "a peer": ([2], 1, 1)}
    assert {row.rule: row.named_right for row in changes}[MONITOR] == 0.5
    figures = {row.name: row for row in rows_of(quiet, changes)}
    row = figures[f"{MONITOR}; {SHIFT.words}; independent"]
    assert row.value == 0.5
    assert row.facts == {"worlds": 2, "fired_before": 0, "median_weeks": 3, "named_right": 0.5}


def test_the_best_test_knows_how_far_simulated_columns_wander():
    columns = 400
    world = DriftWorld(8, columns=columns, nature=SEASONAL)
    # Each day's mean, less that of all columns: the season is known.
    days = [
        world.days(1).numbers.mean(axis=0) for _ in range((TRAINING_WEEKS + HELD_OUT_WEEKS) * 7)
    ]
    days += [world.days(1).numbers.mean(axis=0) for _ in range(10 * WEEK_DAYS)]
    means = np.stack(days, axis=1)
    means -= means.mean(axis=0)
    first_week = strongest(SEASONAL, means[None], WEEK_DAYS)[0, :, 0]
    assert np.mean(first_week**2) == pytest.approx(1, abs=0.3)


def test_the_best_test_finds_what_is_large_and_not_what_columns_do_by_themselves():
    found = {(each.world, each.days, each.shift): each for each in best_possible(worlds=20)}
    for days in (1, 7):
        assert found["seasons and memory", days, 1.0].found == 1
        assert found["seasons and memory", days, 0.2].found < 0.5
    assert found["independent", 7, 0.2] == Best("independent", 7, 0.2, 1.0, 1.0)
    assert {row.value for row in oracle_rows([found["independent", 7, 0.2]])} == {1.0}
