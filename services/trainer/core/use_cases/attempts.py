"""What workers do with jobs, each write under the fence of its lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from services.trainer.core.errors import (
    AttemptSuperseded,
    BudgetExceeded,
    IllegalTransition,
    NothingToClaim,
)
from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import Attempt, JobError, StoredCheckpoint, TrainingJob, Trial
from services.trainer.core.ports import TrainerTx
from services.trainer.core.queues import needed
from services.trainer.core.reproduction import Comparison
from services.trainer.core.states import AttemptState, JobState
from services.trainer.core.use_cases.moves import (
    after_failure,
    end_attempt,
    move_to_budget_exceeded,
    requeue,
    store,
    tell_state,
)
from services.trainer.core.use_cases.spending import (
    STOP_AHEAD_S,
    Terms,
    check_start,
    exceeded,
    granted,
    metered,
)


class Order(StrEnum):
    """What a worker is to do."""

    GO_ON = "GO_ON"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True)
class Claim:
    """Which attempt speaks.

    Attributes:
        job: Job's resource name.
        fence: Of its lease.
    """

    job: str
    fence: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is given to do.

    Attributes:
        claim: To speak under.
        job: The job.
        trials: As earlier attempts left them.
        checkpoints: Newest first.
        granted_s: How long it may go on without a heartbeat.
    """

    claim: Claim
    job: TrainingJob
    trials: tuple[Trial, ...]
    checkpoints: tuple[StoredCheckpoint, ...]
    granted_s: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a worker hears.

    Attributes:
        order: What to do.
        granted_s: How long it may go on without another heartbeat.
        cost_micros: What the job has cost so far.
    """

    order: Order
    granted_s: int
    cost_micros: int


def claim(
    tx: TrainerTx, name: str, worker: str, terms: Terms, *, node: str = ""
) -> Assignment | None:
    """The job for a new attempt of `worker`; the same worker again gets its running attempt.

    None if a budget has no room for it: then the job is stopped.

    Args:
        tx: The transaction.
        name: Job's resource name.
        worker: Who claims it.
        terms: What may be spent.
        node: Machine that the worker runs on; empty if it doesn't say.

    Raises:
        NothingToClaim: The job is gone, is not queued, waits before its next attempt, or
            another worker has it.
    """
    job = tx.job(name)
    if job is None:
        raise NothingToClaim(worker)
    running = job.running_attempt
    if running is not None and running.worker == worker:
        return _assignment(tx, job)
    if job.state is not JobState.QUEUED or job.ready_time > tx.now:
        raise NothingToClaim(worker)
    try:
        check_start(tx, job, terms)
    except BudgetExceeded as error:
        _stop_for_budget(tx, job, error)
        return None
    fence = tx.claim_lease(job.uid, worker, terms.ttl)
    if fence is None:
        raise NothingToClaim(worker)
    attempt = Attempt(
        len(job.attempts) + 1,
        worker,
        fence,
        AttemptState.RUNNING,
        tx.now,
        rate_micros=terms.rate(job.spec),
        price_version=terms.prices.version,
        granted_s=1,
        node=node,
        share=needed(job.spec, terms.machine).share_of(terms.machine),
    )
    job = metered(tx, replace(job, attempts=(*job.attempts, attempt), error=None))
    job = _granted(job, granted(tx, job, terms))
    job = store(tx, job.moved_to(JobState.PREPARING))
    tell_state(tx, job)
    return _assignment(tx, job)


def heartbeat(tx: TrainerTx, claimed: Claim, terms: Terms) -> Instruction:
    """What the worker is to do; its lease holds for another `ttl` of the terms.

    An attempt whose budget is spent has ended with this.

    Raises:
        AttemptSuperseded: Another attempt has the job, or nobody may work on it.
    """
    job = tx.job(claimed.job)
    if job is not None and job.state is JobState.CANCELLED:
        return Instruction(Order.CANCEL, 0, job.cost_micros)
    job = metered(tx, guarded(tx, claimed))
    left_s = granted(tx, job, terms)
    if left_s == 0:
        error = exceeded(tx, job, terms)
        _stop_for_budget(tx, end_attempt(tx, job, AttemptState.STOPPED, None), error)
        return Instruction(Order.CANCEL, 0, job.cost_micros)
    job = _granted(job, left_s)
    attempt = job.attempts[-1]
    tx.prolong_lease(job.uid, attempt.worker, attempt.fence, terms.ttl)
    near = left_s < min(STOP_AHEAD_S, terms.window_s)
    if near != job.budget_reached:
        job = store(tx, replace(job, budget_reached=near))
    else:
        tx.set_metered(job.uid, attempt)
    stops = near or job.pause_requested or job.preempt_requested
    order = Order.PAUSE if stops else Order.GO_ON
    return Instruction(order, left_s, job.cost_micros)


def guarded(tx: TrainerTx, claimed: Claim) -> TrainingJob:
    """The job of a claim that is still good.

    Raises:
        AttemptSuperseded: It is not.
    """
    job = tx.job(claimed.job)
    running = None if job is None else job.running_attempt
    if job is None or running is None or running.fence != claimed.fence:
        raise AttemptSuperseded(claimed.job, claimed.fence)
    if not tx.holds_lease(job.uid, running.worker, running.fence):
        raise AttemptSuperseded(claimed.job, claimed.fence)
    return job


def enter_stage(tx: TrainerTx, claimed: Claim, stage: JobState) -> None:
    """Move the job to the stage of the work at hand; a repeat changes nothing.

    Raises:
        AttemptSuperseded: The claim is no longer good.
        IllegalTransition: The stage is not the next one.
    """
    job = guarded(tx, claimed)
    if stage is not job.state:
        moved = store(tx, job.moved_to(stage))
        tell_state(tx, moved)


@dataclass(frozen=True, slots=True)
class Registered:
    """What a finished job has made.

    Attributes:
        model_version: Resource name.
        evaluation: Of the test part, resource name.
        best_trial: The trial that won, resource name.
    """

    model_version: str
    evaluation: str
    best_trial: str


def finish(tx: TrainerTx, claimed: Claim, result: Registered) -> None:
    """End the attempt and the job well; a repeat changes nothing.

    Raises:
        AttemptSuperseded: The claim is no longer good.
        IllegalTransition: The job has nothing registered yet, or repeats another.
    """

    def registered(job: TrainingJob) -> TrainingJob:
        if job.reproduction is not None:
            raise IllegalTransition(job.name, job.state, JobState.SUCCEEDED)
        return replace(
            job,
            model_version=result.model_version,
            evaluation=result.evaluation,
            best_trial=result.best_trial,
        )

    _succeed(tx, claimed, registered)


def finish_reproduction(
    tx: TrainerTx, claimed: Claim, best_trial: str, comparisons: Sequence[Comparison]
) -> None:
    """End an attempt at a job that repeats another, and the job; a repeat changes nothing.

    Args:
        tx: The transaction.
        claimed: Which attempt.
        best_trial: The trial that won, by resource name.
        comparisons: How it compares, in every subject.

    Raises:
        AttemptSuperseded: The claim is no longer good.
        IllegalTransition: The job repeats none, or has compared nothing yet.
    """

    def compared(job: TrainingJob) -> TrainingJob:
        if job.reproduction is None:
            raise IllegalTransition(job.name, job.state, JobState.SUCCEEDED)
        found = replace(job.reproduction, comparisons=tuple(comparisons))
        return replace(job, best_trial=best_trial, reproduction=found)

    _succeed(tx, claimed, compared)


def fail(tx: TrainerTx, claimed: Claim, error: JobError) -> None:
    """End the attempt badly; the job is queued again if another attempt can help.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    if _is_repeat(tx, claimed, AttemptState.FAILED):
        return
    job = guarded(tx, claimed)
    after_failure(tx, end_attempt(tx, job, AttemptState.FAILED, error), error)


def stop(tx: TrainerTx, claimed: Claim, *, preempted: bool = False) -> None:
    """End the attempt before its time: the job is paused if that was the order, else queued again.

    Args:
        tx: The transaction.
        claimed: Which attempt.
        preempted: Its machine is taken away; else it was told to stop.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    if _is_repeat(tx, claimed, AttemptState.STOPPED):
        return
    job = guarded(tx, claimed)
    if preempted or job.preempt_requested:
        cause = "its machine is taken away" if preempted else "a job of higher priority goes first"
        error = JobError(ErrorClass.PREEMPTED, cause)
        requeue(tx, end_attempt(tx, job, AttemptState.STOPPED, error), timedelta(0))
        return
    job = end_attempt(tx, job, AttemptState.STOPPED, None)
    if job.budget_reached and not job.pause_requested:
        error = JobError(ErrorClass.BUDGET_EXCEEDED, "what a budget has left is nearly spent")
        move_to_budget_exceeded(tx, job, error)
        return
    requeue(tx, job, timedelta(0))


def _succeed(
    tx: TrainerTx, claimed: Claim, with_result: Callable[[TrainingJob], TrainingJob]
) -> None:
    if _is_repeat(tx, claimed, AttemptState.SUCCEEDED):
        return
    job = end_attempt(tx, guarded(tx, claimed), AttemptState.SUCCEEDED, None)
    done = replace(with_result(job), pause_requested=False)
    tell_state(tx, store(tx, done.moved_to(JobState.SUCCEEDED)))


def _granted(job: TrainingJob, seconds: int) -> TrainingJob:
    attempt = job.attempts[-1]
    return job.with_last_attempt(replace(attempt, granted_s=attempt.charged_s + seconds))


def _stop_for_budget(tx: TrainerTx, job: TrainingJob, cause: BudgetExceeded) -> None:
    move_to_budget_exceeded(tx, job, JobError(ErrorClass.BUDGET_EXCEEDED, str(cause)))


def _assignment(tx: TrainerTx, job: TrainingJob) -> Assignment:
    attempt = job.attempts[-1]
    return Assignment(
        Claim(job.name, attempt.fence),
        job,
        tx.trials(job.uid),
        tx.checkpoints(job.uid),
        attempt.granted_s - attempt.charged_s,
    )


def _is_repeat(tx: TrainerTx, claimed: Claim, state: AttemptState) -> bool:
    job = tx.job(claimed.job)
    last = job.attempts[-1] if job is not None and job.attempts else None
    return last is not None and last.fence == claimed.fence and last.state is state
