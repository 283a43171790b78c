"""Who gets a worker, and who makes room."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.jobs import Attempt, TrainingJob
from services.trainer.core.queueing import Capacity, plan
from services.trainer.core.states import AttemptState, JobState
from tests.support.trainer_values import EPOCH, JOB, job

SECOND = timedelta(seconds=1)


def waiting(number: int, **changes: Any) -> TrainingJob:
    usual = {"name": f"{JOB}-{number}", "uid": str(number), "create_time": EPOCH + number * SECOND}
    return job(**{**usual, **changes})


def running(number: int, **changes: Any) -> TrainingJob:
    attempt = Attempt(1, f"w{number}", 1, AttemptState.RUNNING, EPOCH + number * SECOND)
    return waiting(number, **{"state": JobState.RUNNING, "attempts": (attempt,), **changes})


def numbers(jobs: tuple[TrainingJob, ...]) -> list[int]:
    return [int(each.uid) for each in jobs]


def test_higher_priority_goes_first_then_the_older() -> None:
    jobs = [waiting(1), waiting(2, priority=5), waiting(3, priority=5), waiting(4)]
    assert numbers(plan(jobs, Capacity(3), EPOCH).start) == [2, 3, 1]


def test_owners_take_turns() -> None:
    jobs = [*(waiting(n, owner="ann") for n in range(3)), waiting(9, owner="bob")]
    assert numbers(plan(jobs, Capacity(3), EPOCH).start) == [0, 9, 1]


def test_an_owner_at_its_quota_waits_also_with_workers_free() -> None:
    jobs = [running(1, owner="ann"), waiting(2, owner="ann", priority=9), waiting(3, owner="bob")]
    chosen = plan(jobs, Capacity(2, per_owner=1), EPOCH)
    assert (numbers(chosen.start), chosen.preempt) == ([3], ())


def test_a_job_that_pauses_before_its_retry_is_not_started() -> None:
    assert plan([waiting(1, ready_time=EPOCH + SECOND)], Capacity(1), EPOCH).start == ()


def test_the_lowest_and_youngest_makes_room_for_a_higher_one_and_nobody_for_an_equal() -> None:
    jobs = [running(1, priority=1), running(2), running(3), waiting(4, priority=1), waiting(5)]
    chosen = plan(jobs, Capacity(0), EPOCH)
    assert (chosen.start, numbers(chosen.preempt)) == ((), [3])


def test_who_makes_room_already_is_not_joined_by_another() -> None:
    jobs = [running(1, preempt_requested=True), running(2), waiting(4, priority=1)]
    assert plan(jobs, Capacity(0), EPOCH).preempt == ()


def test_of_a_frozen_project_none_but_critical_jobs_start_or_make_others_leave() -> None:
    elsewhere = {"name": "projects/other/trainingJobs/5"}
    jobs = [
        running(1),
        waiting(2, priority=9),
        waiting(3, critical=True),
        waiting(4, priority=5, critical=True),
        waiting(5, **elsewhere),
    ]
    frozen = {"projects/default"}
    assert numbers(plan(jobs, Capacity(9, frozen=frozen), EPOCH).start) == [4, 5, 3]
    assert plan(jobs[:2], Capacity(0, frozen=frozen), EPOCH).preempt == ()


@given(
    free=st.integers(0, 4),
    quota=st.integers(0, 3),
    given_jobs=st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("abc")), max_size=12
    ),
)
def test_no_plan_breaks_a_limit(
    free: int, quota: int, given_jobs: list[tuple[bool, int, str]]
) -> None:
    jobs = [
        (running if runs else waiting)(number, priority=priority, owner=owner)
        for number, (runs, priority, owner) in enumerate(given_jobs)
    ]
    chosen = plan(jobs, Capacity(free, quota), EPOCH)
    assert len(chosen.start) <= free
    assert all(each.state is JobState.QUEUED for each in chosen.start)
    highest = max((each.priority for each in jobs if not each.state.active), default=0)
    assert all(each.state.active and each.priority < highest for each in chosen.preempt)
    for owner in "abc":
        started = sum(each.owner == owner for each in chosen.start)
        runs = sum(each.owner == owner and each.state.active for each in jobs)
        assert not quota or started == 0 or started + runs <= quota
