"""How training jobs went, from what the trainer and the monitor tell."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.cli.views.job_statistics import (
    JobFacts,
    Share,
    Spent,
    newest_before,
    statistics_of,
)
from roundhouse.monitor.v1.monitor_pb2 import DriftReport
from roundhouse.trainer.v1.job_pb2 import Attempt, JobSpec, TrainingJob, Trial

from services.common.rpc.convert import to_timestamp
from tests.support.dashboard_scene import dashboard_scene
from tests.support.monitor_values import MARCH

MODEL = "projects/default/models/delays"
SUCCEEDED, FAILED = TrainingJob.STATE_SUCCEEDED, TrainingJob.STATE_FAILED
LOST, STOPPED, WENT_WELL = Attempt.STATE_LOST, Attempt.STATE_STOPPED, Attempt.STATE_SUCCEEDED


def job(state=SUCCEEDED, attempts=(WENT_WELL,), minutes=10, cost=None, metric=""):
    """One whose attempts took ten minutes in all, or as long as is said."""
    start, each = MARCH, timedelta(minutes=minutes) / len(attempts)
    return TrainingJob(
        name="projects/default/trainingJobs/j",
        spec=JobSpec(model=MODEL, metric=metric),
        state=state,
        cost=cost,
        create_time=to_timestamp(MARCH),
        attempts=[
            Attempt(
                number=i + 1,
                state=attempt,
                start_time=to_timestamp(start + i * each),
                end_time=to_timestamp(start + (i + 1) * each),
            )
            for i, attempt in enumerate(attempts)
        ],
    )


def facts(job, best=None, gpu=(), drift=None):
    return JobFacts(job, best, gpu, drift)


def trial(value, gain=None, low=0.0):
    gains = {} if gain is None else {"auc": Trial.Gain(value=gain, low=low, high=gain)}
    return Trial(metrics={"auc": value, "log_loss": 1 - value}, gains=gains)


def usd(units, nanos=0):
    return Money(currency_code="USD", units=units, nanos=nanos)


def test_of_nothing_nothing_is_known():
    found = statistics_of([])
    assert (found.first_attempt.value, found.final.value) == (None, None)
    assert (found.median_s, found.p95_s, found.gpu) == (None, None, None)
    assert (found.validation, found.spent, dict(found.drift)) == ([], [], {})


def test_a_lost_worker_costs_the_first_attempt_and_a_preemption_does_not():
    found = statistics_of(
        [
            facts(job()),
            facts(job(attempts=(STOPPED, WENT_WELL))),
            facts(job(attempts=(LOST, WENT_WELL))),
            facts(job(FAILED, (Attempt.STATE_FAILED,))),
            facts(job(TrainingJob.STATE_BUDGET_EXCEEDED, (STOPPED,))),
        ]
    )
    assert found.first_attempt == Share(2, 5)
    assert found.final == Share(3, 5)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60))
def test_ninety_five_of_a_hundred_took_no_longer_than_is_said(minutes):
    found = statistics_of([facts(job(minutes=each)) for each in minutes])
    within = sum(60 * each <= found.p95_s + 1e-6 for each in minutes)
    shorter = sum(60 * each < found.p95_s - 1e-6 for each in minutes)
    assert within >= 0.95 * len(minutes) > shorter
    assert min(minutes) * 60 - 1e-6 <= found.median_s <= found.p95_s + 1e-6


def test_how_long_failed_jobs_took_is_left_out():
    failed = facts(job(FAILED, (Attempt.STATE_FAILED,), minutes=900))
    assert statistics_of([facts(job(minutes=10)), failed]).p95_s == 600


def test_winners_are_held_against_the_baseline_by_the_metric_that_chose_them():
    found = statistics_of(
        [
            facts(job(), trial(0.7, 0.2, low=0.1)),
            facts(job(), trial(0.6, 0.1, low=-0.01)),
            facts(job(), trial(0.8)),
            facts(job(metric="log_loss"), trial(0.9)),
            facts(job(FAILED, (Attempt.STATE_FAILED,)), trial(0.1, 0.1)),
        ]
    )
    auc, log_loss = found.validation
    assert (auc.metric, auc.jobs, auc.value) == ("auc", 3, 0.7)
    assert (auc.gain, auc.surely_better) == (pytest.approx(0.15), Share(1, 2))
    assert (log_loss.value, log_loss.gain) == (pytest.approx(0.1), None)
    assert log_loss.surely_better.value is None


def test_gpu_use_is_the_mean_over_jobs_that_measured_it():
    found = statistics_of([facts(job(), gpu=(0.4, 0.6)), facts(job(), gpu=(1.0,)), facts(job())])
    assert (found.gpu, found.gpu_jobs) == (0.75, 2)


def test_costs_are_summed_by_currency_to_the_millionth():
    euro = Money(currency_code="EUR", units=2)
    found = statistics_of([facts(job(cost=each)) for each in (usd(1, 500_000_000), usd(0), euro)])
    assert found.spent == [
        Spent("EUR", 1, 2_000_000, 2_000_000),
        Spent("USD", 2, 750_000, 1_500_000),
    ]
    assert statistics_of([facts(job())]).spent == []


def drift(hours, change=DriftReport.CHANGE_DATA_DRIFT, model=MODEL):
    return DriftReport(
        baseline_version=f"{model}/versions/1",
        create_time=to_timestamp(MARCH + timedelta(hours=hours)),
        change=change,
    )


def test_the_drift_of_a_job_is_the_newest_known_of_its_model_when_it_was_submitted():
    old, new, later = drift(-5), drift(-1, DriftReport.CHANGE_NONE), drift(1)
    other = drift(-0.5, model=f"{MODEL}-2")
    assert newest_before([new, later, other, old], job()) == new
    assert newest_before([later, other], job()) is None
    found = statistics_of([facts(job(), drift=each) for each in (old, new, None)])
    assert dict(found.drift) == {"DATA_DRIFT": 1, "NONE": 1, "": 1}


async def test_the_command_asks_the_trainer_and_the_monitor(tmp_path, capsys):
    async with dashboard_scene(tmp_path) as scene:
        before = [
            *("--data-dir", str(tmp_path), "--address", f"monitor={scene.monitor}"),
            *("--address", f"trainer={scene.peers}", "jobs", "stats"),
        ]

        async def command(*arguments):
            capsys.readouterr()
            assert await asyncio.to_thread(run, [*before, *arguments]) == Exit.OK
            return capsys.readouterr().out

        told = json.loads(await command("--days", "3000", "--json"))
        assert (told["jobs"], told["final"]) == (2, {"count": 1, "of": 2, "value": 0.5})
        assert told["first_attempt"]["count"] == 0
        assert (told["gpu"], told["drift"]) == (None, {"UNKNOWN": 2})
        text = await command("--model", "delays")
        assert "succeeded at the first attempt" in text
        assert "none" in text
        assert json.loads(await command("--owner", "nobody", "--json"))["jobs"] == 0
