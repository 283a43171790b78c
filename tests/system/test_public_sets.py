"""Rows of a public set become the weeks that the monitor judges, and are scored by their change."""

from __future__ import annotations

import numpy as np

from services.monitor.core.resources import ChangeKind, DriftTest
from tests.system.drift_runs import judged
from tests.system.proofs.public_data import Finding, violated
from tests.system.public_sets import CAR_LOANS, CENSUS, sights

ROWS = 600
QUIET_WEEKS = 2


def drawn(random, rows, *, longer=0.0):
    """A model of loans whose length says how likely they are paid back."""
    length = random.normal(size=rows) + longer
    score = 1 / (1 + np.exp(-length))
    return {
        "salary": random.choice(["low", "high"], rows).astype(np.str_),
        "loan_length": length,
        "score": score.astype(np.float32),
        "label": (random.random(rows) < score).astype(np.int8),
    }


def test_rows_in_the_place_of_time_are_judged_week_by_week():
    random = np.random.default_rng(2)
    weeks = [drawn(random, ROWS) for _ in range(QUIET_WEEKS)]
    weeks += [drawn(random, ROWS, longer=1.0) for _ in range(4)]
    reports = list(judged(sights(drawn(random, 12 * ROWS), weeks), DriftTest()))
    assert [report.rows for report in reports] == [ROWS] * 6
    assert [report.change for report in reports] == [
        *[ChangeKind.NONE] * 4,
        *[ChangeKind.DATA_DRIFT] * 2,
    ]
    assert set(reports[-1].drifted_features) == {"loan_length", "score", "label"}


def test_a_rule_is_scored_by_the_weeks_before_and_after_the_change():
    before, after = [True] + [False] * 19, [False, False, True, True] * 5
    found = Finding.of("one", before + after, CAR_LOANS)
    assert found == Finding("one", 1, 20, 3 * CAR_LOANS.rows, 10, 20)
    silent = Finding.of("other", [False] * 40, CAR_LOANS)
    assert silent.delay_rows is None
    assert violated(CENSUS, Finding.of("it", [False] * 41, CENSUS), [], DriftTest()) == [
        f"{CENSUS.name}: RELP was not found"
    ]
