"""How jobs move, whatever their workers and their owners do."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.common.errors import ServiceError
from services.common.etags import EtagMismatch
from services.trainer.core.errors import (
    AttemptSuperseded,
    IllegalTransition,
    JobActive,
    JobExists,
    JobNotFound,
    NothingToClaim,
)
from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import JobError
from services.trainer.core.states import MOVES, STAGES, AttemptState, JobState, TrialState
from services.trainer.core.use_cases import attempts, reports, submission, supervision
from services.trainer.core.use_cases.attempts import Claim, Order
from services.trainer.core.use_cases.reports import Report
from tests.support.trainer_jobs import AWAY, RESULT, claimed, submitted, through_all_stages
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import JOB, TERMS

TTL = timedelta(seconds=10)


def state(tx: MemoryTrainerTx) -> JobState:
    return submission.existing(tx, JOB).state


def test_a_submitted_job_has_a_pending_trial_per_candidate_with_all_parameters() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    (trial,) = tx.trials(job.uid)
    assert (trial.id, trial.parameters) == ("decision-tree-1", {"max_depth": 8.0})
    assert trial.state is TrialState.PENDING


def test_a_name_is_taken_once() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    with pytest.raises(JobExists):
        submitted(tx)


def test_an_attempt_that_goes_well_leaves_a_job_that_succeeded() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    through_all_stages(tx, claim)
    attempts.finish(tx, claim, RESULT)
    job = submission.existing(tx, JOB)
    assert (job.state, job.model_version) == (JobState.SUCCEEDED, RESULT.model_version)
    assert [attempt.state for attempt in job.attempts] == [AttemptState.SUCCEEDED]
    assert [kind for kind, _, _ in tx.events] == [
        "job.queued",
        "job.preparing",
        "job.running",
        "job.evaluating",
        "job.registering",
        "job.succeeded",
    ]
    assert tx.cleanups_due == [job.uid]


def test_only_one_worker_gets_a_job() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claimed(tx)
    with pytest.raises(NothingToClaim):
        claimed(tx, "w2")


def test_a_worker_that_was_given_up_can_write_nothing_more() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    stale = claimed(tx)
    supervision.lose(tx, JOB, "w1", "killed")
    tx.now += timedelta(minutes=2)
    claimed(tx, "w2")
    for write in (
        lambda: attempts.heartbeat(tx, stale, TERMS),
        lambda: attempts.enter_stage(tx, stale, JobState.RUNNING),
        lambda: reports.take_report(tx, stale, Report(1, [], ["late"])),
        lambda: attempts.finish(tx, stale, RESULT),
        lambda: attempts.fail(tx, stale, AWAY),
        lambda: attempts.stop(tx, stale),
    ):
        with pytest.raises(AttemptSuperseded):
            write()


def test_a_lease_that_runs_out_is_found() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    tx.now += TTL / 2
    attempts.heartbeat(tx, claim, TERMS)
    tx.now += TTL * 0.9
    assert supervision.expired(tx) == []
    tx.now += TTL
    assert supervision.expired(tx) == [(JOB, "w1")]


def test_retries_wait_longer_each_time_and_end() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    waits = []
    for number in range(3):
        claim = claimed(tx, f"w{number}")
        attempts.fail(tx, claim, AWAY)
        job = submission.existing(tx, JOB)
        waits.append((job.ready_time - tx.now).total_seconds())
        tx.now = max(tx.now, job.ready_time)
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2
    assert (job.state, job.error) == (JobState.FAILED, AWAY)


def test_a_job_that_waits_before_its_retry_cannot_be_claimed() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    attempts.fail(tx, claimed(tx), AWAY)
    with pytest.raises(NothingToClaim):
        claimed(tx, "w2")


@pytest.mark.parametrize("error_class", ["DATA_FAULT", "NAN_LOSS", "EXPORT_MISMATCH", "INTERNAL"])
def test_what_would_come_again_is_not_retried(error_class: str) -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    attempts.fail(tx, claimed(tx), JobError(ErrorClass(error_class), "x"))
    assert state(tx) is JobState.FAILED


def test_workers_that_die_before_their_claim_use_up_the_attempts() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    for number in range(3):
        for _ in range(2):
            supervision.lose(tx, JOB, f"w{number}", "killed")
    job = submission.existing(tx, JOB)
    assert (job.state, len(job.attempts)) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error.error_class is ErrorClass.WORKER_LOST


def test_a_shutdown_is_not_held_against_the_job() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    for number in range(5):
        claimed(tx, f"w{number}")
        supervision.take_back(tx, JOB, f"w{number}")
    job = submission.existing(tx, JOB)
    assert (job.state, job.failed_attempts) == (JobState.QUEUED, 0)


def test_a_cancelled_job_tells_its_worker_and_refuses_its_writes() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    job = submission.cancel(tx, JOB, "")
    assert job.state is JobState.CANCELLED
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.CANCEL
    with pytest.raises(AttemptSuperseded):
        attempts.enter_stage(tx, claim, JobState.RUNNING)
    with pytest.raises(IllegalTransition):
        submission.cancel(tx, JOB, "")


def test_a_running_job_pauses_when_its_worker_stops_and_resumes_as_queued() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    assert submission.pause(tx, JOB, "").state is JobState.PREPARING
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.PAUSE
    attempts.stop(tx, claim)
    assert state(tx) is JobState.PAUSED
    with pytest.raises(NothingToClaim):
        claimed(tx, "w2")
    assert submission.resume(tx, JOB, "", TERMS).state is JobState.QUEUED
    assert claimed(tx, "w2").fence > claim.fence


def test_a_job_that_was_to_pause_pauses_when_its_worker_dies() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claimed(tx)
    submission.pause(tx, JOB, "")
    supervision.lose(tx, JOB, "w1", "killed")
    assert state(tx) is JobState.PAUSED


def test_a_pause_can_be_taken_back_before_the_worker_has_stopped() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    submission.pause(tx, JOB, "")
    submission.resume(tx, JOB, "", TERMS)
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.GO_ON


def test_a_queued_job_pauses_at_once() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    assert submission.pause(tx, JOB, "").state is JobState.PAUSED


def test_only_a_job_that_is_over_can_be_deleted() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    with pytest.raises(JobActive):
        submission.delete(tx, JOB, "")
    submission.cancel(tx, JOB, "")
    submission.delete(tx, JOB, "")
    with pytest.raises(JobNotFound):
        submission.existing(tx, JOB)


def test_a_preemption_is_no_failure_and_is_retried_at_once() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    for number in range(5):
        claim = claimed(tx, f"w{number}")
        if number % 2:
            supervision.preempt(tx, JOB)
            assert attempts.heartbeat(tx, claim, TERMS).order is Order.PAUSE
            attempts.stop(tx, claim)
        else:
            attempts.stop(tx, claim, preempted=True)
    job = submission.existing(tx, JOB)
    assert (job.state, job.failed_attempts, job.ready_time) == (JobState.QUEUED, 0, tx.now)
    errors = [attempt.error for attempt in job.attempts]
    assert {error.error_class for error in errors if error} == {ErrorClass.PREEMPTED}
    assert len([error for error in errors if error]) == 5


@pytest.mark.parametrize("error_class", ErrorClass)
def test_every_class_of_error_has_a_remedy_and_pauses_that_grow_apart(
    error_class: ErrorClass,
) -> None:
    assert error_class.remedy.endswith(".")
    pauses = [error_class.pause_s(failures, 0.0) for failures in range(1, 12)]
    assert pauses == sorted(pauses)
    assert max(pauses) <= 60
    assert error_class.pause_s(3, 1.0) == pauses[2] / 2


def test_a_stale_etag_changes_nothing() -> None:
    tx = MemoryTrainerTx()
    stale = submitted(tx).etag
    submission.pause(tx, JOB, stale)
    with pytest.raises(EtagMismatch):
        submission.resume(tx, JOB, stale, TERMS)
    assert state(tx) is JobState.PAUSED


def resumed(tx: MemoryTrainerTx, name: str, etag: str) -> None:
    submission.resume(tx, name, etag, TERMS)


class JobMachine(RuleBasedStateMachine):
    """Two workers, an owner and a clock, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.tx = MemoryTrainerTx()
        self.last = submitted(self.tx)
        self.claims: list[Claim] = []

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        with suppress(ServiceError):
            self.claims.append(claimed(self.tx, worker))

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.tx.now += timedelta(seconds=seconds)
        for job, worker in supervision.expired(self.tx):
            supervision.lose(self.tx, job, worker, "silent")

    @rule(data=st.data(), step=st.sampled_from(["stage", "finish", "fail", "stop", "heartbeat"]))
    def report(self, data: st.DataObject, step: str) -> None:
        if not self.claims:
            return
        claim = data.draw(st.sampled_from(self.claims))
        with suppress(ServiceError):
            match step:
                case "stage":
                    attempts.enter_stage(self.tx, claim, data.draw(st.sampled_from(STAGES)))
                case "finish":
                    attempts.finish(self.tx, claim, RESULT)
                case "fail":
                    attempts.fail(self.tx, claim, AWAY)
                case "stop":
                    attempts.stop(self.tx, claim)
                case _:
                    attempts.heartbeat(self.tx, claim, TERMS)

    @rule(wish=st.sampled_from([submission.cancel, submission.pause, resumed]))
    def owner(self, wish: object) -> None:
        with suppress(ServiceError):
            wish(self.tx, JOB, "")  # type: ignore[operator]

    @invariant()
    def every_move_is_legal(self) -> None:
        job = submission.existing(self.tx, JOB)
        if job.state is not self.last.state:
            assert _reachable(self.last.state, job.state)
        assert job.revision >= self.last.revision
        self.last = job

    @invariant()
    def a_worker_is_on_a_job_exactly_while_it_is_active(self) -> None:
        job = submission.existing(self.tx, JOB)
        running = [each for each in job.attempts if each.state is AttemptState.RUNNING]
        assert len(running) == (1 if job.state.active else 0)
        assert job.failed_attempts <= job.spec.max_attempts

    @invariant()
    def what_is_over_is_cleaned_up_once(self) -> None:
        over = submission.existing(self.tx, JOB).state.over
        assert len(self.tx.cleanups_due) == (1 if over else 0)


def _reachable(start: JobState, end: JobState) -> bool:
    """Whether some moves lead from one to the other; a rule may make several."""
    seen, todo = {start}, [start]
    while todo:
        for after in MOVES[todo.pop()] - seen:
            seen.add(after)
            todo.append(after)
    return end in seen


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
