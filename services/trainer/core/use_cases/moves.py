"""How jobs move from state to state: stored as their next revision, and announced."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

from services.common.causality import caused_by
from services.trainer.core.jobs import JobError, TrainingJob
from services.trainer.core.ports import TrainerTx
from services.trainer.core.states import AttemptState, JobState
from services.trainer.core.use_cases.spending import metered


def store(tx: TrainerTx, job: TrainingJob) -> TrainingJob:
    """The job as its next revision, stored."""
    stored = job.touched(tx.now)
    tx.replace_job(stored)
    return stored


def tell_state(tx: TrainerTx, job: TrainingJob) -> None:
    """Announce the state that the job has moved to; a job that is over is to be cleared up."""
    data: dict[str, str | int] = {"attempt": len(job.attempts)}
    if job.model_version:
        data |= {"model_version": job.model_version, "evaluation": job.evaluation}
    if job.reproduction is not None:
        data |= {"reproduces": job.reproduces}
        if job.reproduction.verdict is not None:
            data |= {"verdict": job.reproduction.verdict.name}
    if job.state is JobState.SUCCEEDED:
        data |= {"failed_attempts": job.failed_attempts}
    if job.error is not None:
        data |= {"error_class": job.error.error_class.value}
    with caused_by(job.correlation_id, job.submit_event):
        tx.tell(f"job.{job.state.lower()}", job.name, data)
    if job.state.over:
        tx.add_cleanup(job)


def end_attempt(
    tx: TrainerTx, job: TrainingJob, state: AttemptState, error: JobError | None
) -> TrainingJob:
    """The job with its running attempt, if any, ended and its lease released; not stored yet.

    What has begun is charged.
    """
    job = metered(tx, job)
    running = job.running_attempt
    if running is None:
        return job
    tx.release_lease(job.uid, running.worker, running.fence)
    ended = replace(running, state=state, end_time=tx.now, error=error)
    return replace(job, attempts=(*job.attempts[:-1], ended))


def requeue(tx: TrainerTx, job: TrainingJob, pause: timedelta) -> None:
    """Queue the job again, to be claimed after `pause`; one that was asked to pause is paused."""
    target = JobState.PAUSED if job.pause_requested else JobState.QUEUED
    waiting = replace(
        job,
        pause_requested=False,
        budget_reached=False,
        preempt_requested=False,
        ready_time=tx.now + pause,
    )
    if waiting.state is target:
        store(tx, waiting)
        return
    moved = store(tx, waiting.moved_to(target))
    tell_state(tx, moved)


def after_failure(tx: TrainerTx, job: TrainingJob, error: JobError) -> None:
    """Queue the job again after a growing pause, or fail it if no further attempt can help."""
    if error.error_class.retryable and job.failed_attempts < job.spec.max_attempts:
        pause_s = error.error_class.pause_s(job.failed_attempts, _jitter(job))
        requeue(tx, job, timedelta(seconds=pause_s))
        return
    failed = store(tx, replace(job, error=error).moved_to(JobState.FAILED))
    tell_state(tx, failed)


def move_to_budget_exceeded(tx: TrainerTx, job: TrainingJob, error: JobError) -> None:
    """Stop the job until its budget is raised."""
    stopped = replace(job, error=error, budget_reached=False, pause_requested=False)
    moved = store(tx, stopped.moved_to(JobState.BUDGET_EXCEEDED))
    tell_state(tx, moved)


def _jitter(job: TrainingJob) -> float:
    """Evenly from 0 to 1, and the same again for the same attempt."""
    digest = hashlib.sha256(f"{job.uid} {len(job.attempts)}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
