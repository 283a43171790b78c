"""Submitting jobs, and what people do with them afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.common.causality import causality
from services.common.etags import check_etag
from services.common.names import parent_of
from services.trainer.core.errors import (
    IllegalTransition,
    JobActive,
    JobExists,
    JobInUse,
    JobNotFound,
)
from services.trainer.core.jobs import NOBODY, TrainingJob, Trial, trial_id
from services.trainer.core.parameters import Rules, completed
from services.trainer.core.ports import TrainerTx
from services.trainer.core.queues import DEFAULT_QUEUE, queue_name
from services.trainer.core.reproduction import Reproduction
from services.trainer.core.spec import Candidate, JobSpec
from services.trainer.core.states import AttemptState, JobState
from services.trainer.core.use_cases.moves import end_attempt, store, tell_state
from services.trainer.core.use_cases.queues import check_fits
from services.trainer.core.use_cases.spending import Terms, check_start, estimated


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is submitted.

    Attributes:
        name: Resource name that it shall have.
        labels: The user's.
        spec: What to train.
        traceparent: W3C trace context of the submission; may be empty.
        owner: Who pays.
        budget_micros: The most that it may cost; None means no limit of its own.
        priority: 0 to 100; higher goes first.
        critical: Whether it is started also while its project is frozen.
        queue: Id of the queue that it waits in.
        reproduction: What it repeats; None to make a version.
    """

    name: str
    labels: Mapping[str, str]
    spec: JobSpec
    traceparent: str
    owner: str = NOBODY
    budget_micros: int | None = None
    priority: int = 0
    critical: bool = False
    queue: str = DEFAULT_QUEUE
    reproduction: Reproduction | None = None


def submit(tx: TrainerTx, new: NewJob, recipes: Mapping[str, Rules], terms: Terms) -> TrainingJob:
    """A queued job with a pending trial for each candidate without a search space.

    Its spec has been checked.

    Raises:
        JobExists: The name is taken.
        QueueNotFound: There is no such queue.
        QueueTooSmall: It could never run in its queue.
    """
    trials = [
        Trial(
            id=trial_id(index, candidate.algorithm),
            index=index,
            algorithm=candidate.algorithm,
            parameters=completed(candidate.parameters, recipes[candidate.algorithm]),
            candidate=position,
        )
        for index, (position, candidate) in enumerate(_tried_once(new.spec))
    ]
    return enqueue(tx, new, trials, terms, estimate_micros=estimated(tx, new.spec, terms))


def enqueue(
    tx: TrainerTx, new: NewJob, trials: Sequence[Trial], terms: Terms, *, estimate_micros: int
) -> TrainingJob:
    """A queued job with `trials`, which is expected to cost so much.

    Raises:
        JobExists: The name is taken.
        QueueNotFound: There is no such queue.
        QueueTooSmall: It could never run in its queue.
    """
    if tx.job(new.name) is not None:
        raise JobExists(new.name)
    check_fits(tx, queue_name(parent_of(new.name), new.queue), new.spec, terms.machine)
    event = tx.tell("job.queued", new.name, {"snapshot": new.spec.snapshot, "attempt": 0})
    job = TrainingJob(
        name=new.name,
        uid=tx.new_uid(),
        revision=1,
        create_time=tx.now,
        update_time=tx.now,
        labels=new.labels,
        spec=new.spec,
        state=JobState.QUEUED,
        pause_requested=False,
        ready_time=tx.now,
        correlation_id=causality().correlation_id,
        submit_event=event,
        traceparent=new.traceparent,
        owner=new.owner,
        budget_micros=new.budget_micros,
        priority=new.priority,
        critical=new.critical,
        queue=new.queue,
        estimate_micros=estimate_micros,
        reproduction=new.reproduction,
    )
    tx.add_job(job, trials)
    return job


def existing(tx: TrainerTx, name: str) -> TrainingJob:
    """The job called `name`.

    Raises:
        JobNotFound: There is none.
    """
    job = tx.job(name)
    if job is None:
        raise JobNotFound(name)
    return job


def cancel(tx: TrainerTx, name: str, etag: str) -> TrainingJob:
    """The job, cancelled; whatever its worker still writes is refused.

    Raises:
        JobNotFound: There is no such job.
        EtagMismatch: The caller's copy is out of date.
        IllegalTransition: It is over.
    """
    job = _current(tx, name, etag)
    ended = end_attempt(tx, job, AttemptState.STOPPED, None)
    return _moved(tx, ended, JobState.CANCELLED)


def pause(tx: TrainerTx, name: str, etag: str) -> TrainingJob:
    """The job, paused if no worker is on it, else asked to stop at its next trial or checkpoint.

    Raises:
        JobNotFound: There is no such job.
        EtagMismatch: The caller's copy is out of date.
        IllegalTransition: It is over or paused.
    """
    job = _current(tx, name, etag)
    if job.state.active:
        return store(tx, replace(job, pause_requested=True))
    return _moved(tx, job, JobState.PAUSED)


def resume(tx: TrainerTx, name: str, etag: str, terms: Terms) -> TrainingJob:
    """The job, queued again; or going on, if its worker has not stopped yet.

    Raises:
        JobNotFound: There is no such job.
        EtagMismatch: The caller's copy is out of date.
        IllegalTransition: It has not stopped, nor was it asked to pause.
        BudgetExceeded: A budget has no room for it.
    """
    job = _current(tx, name, etag)
    if job.state.active and job.pause_requested:
        return store(tx, replace(job, pause_requested=False))
    if job.state not in (JobState.PAUSED, JobState.BUDGET_EXCEEDED):
        raise IllegalTransition(name, job.state, JobState.QUEUED)
    check_start(tx, job, terms)
    return _moved(tx, replace(job, ready_time=tx.now, error=None), JobState.QUEUED)


def set_budget(tx: TrainerTx, name: str, micros: int | None, etag: str) -> TrainingJob:
    """The job with another limit on its cost; one that is over keeps its state.

    Raises:
        JobNotFound: There is no such job.
        EtagMismatch: The caller's copy is out of date.
    """
    job = _current(tx, name, etag)
    return store(tx, replace(job, budget_micros=micros))


def delete(tx: TrainerTx, name: str, etag: str) -> None:
    """Remove a job that is over.

    Raises:
        JobNotFound: There is no such job.
        EtagMismatch: The caller's copy is out of date.
        JobActive: It is not over.
        JobInUse: A job that is not over repeats it.
    """
    job = _current(tx, name, etag)
    if not job.state.over:
        raise JobActive(name, job.state)
    for other in tx.unfinished_jobs():
        if other.reproduces == name:
            raise JobInUse(name, other.name)
    tx.remove_job(name)
    tx.tell("job.deleted", name, {})


def _tried_once(spec: JobSpec) -> list[tuple[int, Candidate]]:
    return [(place, each) for place, each in enumerate(spec.candidates) if not each.space]


def _current(tx: TrainerTx, name: str, etag: str) -> TrainingJob:
    job = existing(tx, name)
    check_etag(name, etag, job.etag)
    return job


def _moved(tx: TrainerTx, job: TrainingJob, state: JobState) -> TrainingJob:
    moved = store(tx, job.moved_to(state))
    tell_state(tx, moved)
    return moved
