"""What the supervisor does with attempts: gives up on lost ones, and has others make room."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import Attempt, JobError, TrainingJob
from services.trainer.core.ports import TrainerTx
from services.trainer.core.states import AttemptState, JobState
from services.trainer.core.use_cases.moves import after_failure, end_attempt, requeue, store


def lose(tx: TrainerTx, name: str, worker: str, cause: str) -> None:
    """Give up on an attempt whose worker is gone; nothing if the job is not that worker's.

    A worker that died before its claim counts as an attempt too, or a job that kills its
    workers at once would go on for ever.

    Args:
        tx: The transaction.
        name: Job's resource name.
        worker: Who is gone.
        cause: What is known about it.
    """
    job = tx.job(name)
    if job is None or job.state.over:
        return
    error = JobError(ErrorClass.WORKER_LOST, f"worker {worker} is gone: {cause}")
    running = job.running_attempt
    if running is not None and running.worker == worker:
        after_failure(tx, end_attempt(tx, job, AttemptState.LOST, error), error)
    elif running is None and job.state is JobState.QUEUED and not _has_tried(job, worker):
        attempt = Attempt(
            len(job.attempts) + 1, worker, 0, AttemptState.LOST, tx.now, tx.now, error
        )
        after_failure(tx, replace(job, attempts=(*job.attempts, attempt)), error)


def take_back(tx: TrainerTx, name: str, worker: str) -> None:
    """Queue a job whose worker was ended by this service's own shutdown; not held against it."""
    job = tx.job(name)
    running = None if job is None else job.running_attempt
    if job is not None and running is not None and running.worker == worker:
        requeue(tx, end_attempt(tx, job, AttemptState.STOPPED, None), timedelta(0))


def preempt(tx: TrainerTx, name: str) -> None:
    """Have a job make room at its next trial or checkpoint; nothing if no worker is on it."""
    job = tx.job(name)
    if job is not None and job.running_attempt is not None and not job.preempt_requested:
        store(tx, replace(job, preempt_requested=True))


def expired(tx: TrainerTx) -> list[tuple[str, str]]:
    """Job and worker of each running attempt whose lease has run out."""
    return [
        (job.name, job.attempts[-1].worker)
        for job in tx.unfinished_jobs()
        if job.running_attempt is not None and tx.lease_expired(job.uid)
    ]


def _has_tried(job: TrainingJob, worker: str) -> bool:
    return any(attempt.worker == worker for attempt in job.attempts)
