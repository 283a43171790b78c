"""The benchmark's arithmetic, and that what it fills and sends is what it says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness import Row
from benchmarks.trainer import ingestion, kills, overhead, scale, search
from benchmarks.trainer.kills import Killed
from benchmarks.trainer.measure import QUICK
from benchmarks.trainer.overhead import Spent, overhead_percent, training_spec, within_fits
from benchmarks.trainer.quantiles import quantile
from services.common.resources import PageQuery
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.trainer.adapters.store.reads import SqlTrainerReads
from services.trainer.core.spec import spec_from_json, spec_to_json
from services.trainer.wiring import MIGRATIONS
from tests.support.trainer_values import EPOCH

seconds = st.floats(0.1, 1000)


@given(seconds, seconds, seconds, seconds)
def test_a_job_of_the_measured_length_has_the_plain_difference(
    outside_s: float, fits_s: float, script_outside_s: float, script_fits_s: float
) -> None:
    job = Spent(outside_s + fits_s, fits_s)
    script = Spent(script_outside_s + script_fits_s, script_fits_s)
    plain = 100 * (job.total_s - script.total_s) / job.total_s
    assert overhead_percent(job, script, job.total_s) == pytest.approx(plain, abs=1e-6)


def test_what_is_outside_of_the_fits_weighs_less_in_a_longer_job() -> None:
    job, script = Spent(total_s=12, fits_s=10), Spent(total_s=9, fits_s=8)
    assert overhead_percent(job, script, 12) == pytest.approx(25)
    # 1 s outside, and a fifth of 298 s of fits.
    assert overhead_percent(job, script, 300) == pytest.approx(100 * (1 + 298 / 5) / 300)


def test_the_first_step_of_a_fit_takes_as_long_as_the_others() -> None:
    assert within_fits([[10.0, 11.0, 12.0], [20.0, 22.0]]) == pytest.approx(3 + 4)
    with pytest.raises(ValueError, match="one step"):
        within_fits([[10.0]])


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    smaller = [value for value in values if value < found]
    assert len(smaller) < share * len(values)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20)])
def test_the_quantile_of_one_to_twenty(share: float, expected: float) -> None:
    assert quantile(range(20, 0, -1), share) == expected


def test_lists_are_held_against_the_same_call_of_the_smaller_store() -> None:
    sizes = (100, 30_000)
    rows = [
        Row(f"list, {jobs:,} jobs, {kind}", "ms (p99)", value, (), {"p50_ms": value / 4})
        for kind, values in (("sqlite", (10.0, 14.0)), ("postgresql", (10.0, 16.0)))
        for jobs, value in zip(sizes, values, strict=True)
    ]
    assert [bar.met for bar in scale.bars(rows, "sqlite", sizes)] == [True, True]
    assert [bar.value for bar in scale.bars(rows, "postgresql", sizes)] == [1.6, 1.6]


def test_one_slow_kill_of_twenty_is_forgiven_and_two_are_not() -> None:
    fast, slow = Killed(0.2, 1.0, 2.0, 1.0), Killed(0.2, 1.0, 9.0, 1.0)
    for kill, met in (([fast] * 19 + [slow], True), ([fast] * 18 + [slow] * 2, False)):
        again, start = kills.bars(kills.rows(kill))
        assert again.met is met
        assert start.met


@pytest.fixture
def filled(tmp_path: Path) -> Database:
    """A store of 100 jobs, and of those that points are reported for."""
    url = f"sqlite:///{tmp_path}/store.db"
    database = Database(url)
    asyncio.run(migrate(database, MIGRATIONS))
    scale.fill(url, 100)
    assert len(ingestion.claimed_jobs(url)) == ingestion.WORKERS
    return database


def test_a_filled_store_holds_what_the_filters_look_for(filled: Database) -> None:
    def found(text: str) -> int:
        query = PageQuery("projects/default", 1000, "", text)
        return filled.read_now(lambda tx: len(SqlTrainerReads(tx, EPOCH).jobs(query).items))

    try:
        assert found("") == 100 + ingestion.WORKERS
        assert found("state = PAUSED") == 3
        assert found("state = FAILED") == 10
        assert found("labels.team = team-7") == 10
        assert found("labels.run = run-50") == 1
        assert found('name = "projects/default/trainingJobs/job-000050"') == 1
    finally:
        filled.close()


def test_a_batch_of_points_names_each_point_once() -> None:
    batch = [*ingestion.points(0), *ingestion.points(ingestion.BATCH_POINTS // 4)]
    assert len(batch) == 2 * ingestion.BATCH_POINTS
    assert len({(each.series, each.step) for each in batch}) == len(batch)


def test_the_script_is_given_the_very_spec_of_the_job() -> None:
    for asked in (
        training_spec(QUICK.training_epochs),
        search.search_spec(QUICK.trial_epochs, QUICK.trials_per_core),
    ):
        assert spec_from_json(json.loads(json.dumps(spec_to_json(asked)))) == asked


def test_only_what_is_measured_decides_a_bar() -> None:
    named = overhead.bars([Row("overhead of a job of 5 minutes, from its parts", "percent", 3.1)])
    assert [(bar.value, bar.met) for bar in named] == [(3.1, False)]
