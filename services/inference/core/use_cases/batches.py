"""The life of batch prediction jobs, one transaction a step."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.common.errors import ServiceError
from services.common.resources import existing
from services.inference.core.batches import (
    BATCH_NAME,
    BatchPredictionJob,
    BatchState,
    WrittenPart,
)
from services.inference.core.errors import (
    BatchJobActive,
    BatchJobExists,
    BatchJobNotFound,
    BatchJobOver,
)
from services.inference.core.ports import InferenceTx


def create_job(tx: InferenceTx, job: BatchPredictionJob) -> BatchPredictionJob:
    """Store a job, which waits for its turn.

    Raises:
        BatchJobExists: The name is taken.
    """
    BATCH_NAME.parse(job.meta.name)
    if tx.batch_jobs.get(job.meta.name) is not None:
        raise BatchJobExists(job.meta.name)
    tx.batch_jobs.add(job)
    return job


def get_job(tx: InferenceTx, name: str) -> BatchPredictionJob:
    """The job called `name`.

    Raises:
        InvalidName: That is no job's name.
        BatchJobNotFound: There is none.
    """
    return existing(tx.batch_jobs, BATCH_NAME, name, BatchJobNotFound)


def cancel_job(tx: InferenceTx, name: str, etag: str, now: datetime) -> BatchPredictionJob:
    """Cancel a job; one that is cancelled, or about to be, stays as it is.

    Raises:
        BatchJobNotFound: There is none.
        EtagMismatch: It has changed.
        BatchJobOver: It has ended otherwise, or its parts are complete.
    """
    job = _current(tx, name, etag)
    match job.state:
        case BatchState.PENDING:
            return _store(tx, replace(job, state=BatchState.CANCELLED, end_time=now), now)
        case BatchState.RUNNING | BatchState.PAUSED:
            return _store(tx, replace(job, state=BatchState.CANCELLING), now)
        case BatchState.CANCELLING | BatchState.CANCELLED:
            return job
        case _:
            raise BatchJobOver(name, job.state)


def pause_job(tx: InferenceTx, name: str, etag: str, now: datetime) -> BatchPredictionJob:
    """Pause a job; one that is paused stays so.

    Raises:
        BatchJobNotFound: There is none.
        EtagMismatch: It has changed.
        BatchJobOver: It has ended or is about to, or its parts are complete.
    """
    job = _current(tx, name, etag)
    match job.state:
        case BatchState.PENDING | BatchState.RUNNING:
            return _store(tx, replace(job, state=BatchState.PAUSED), now)
        case BatchState.PAUSED:
            return job
        case _:
            raise BatchJobOver(name, job.state)


def resume_job(tx: InferenceTx, name: str, etag: str, now: datetime) -> BatchPredictionJob:
    """Let a paused job go on where it stopped; one that waits or runs stays as it is.

    Raises:
        BatchJobNotFound: There is none.
        EtagMismatch: It has changed.
        BatchJobOver: It has ended or is about to, or its parts are complete.
    """
    job = _current(tx, name, etag)
    match job.state:
        case BatchState.PAUSED:
            return _store(tx, job.resumed(), now)
        case BatchState.PENDING | BatchState.RUNNING:
            return job
        case _:
            raise BatchJobOver(name, job.state)


def delete_job(tx: InferenceTx, name: str, etag: str, now: datetime) -> BatchPredictionJob:
    """Delete a job that is over: it is gone once its output is.

    Raises:
        BatchJobNotFound: There is none.
        EtagMismatch: It has changed.
        BatchJobActive: It is not over.
    """
    job = _current(tx, name, etag)
    if job.state is BatchState.DELETING:
        return job
    if not job.state.over:
        raise BatchJobActive(name, job.state)
    return _store(tx, replace(job, state=BatchState.DELETING), now)


def begin(tx: InferenceTx, name: str, output_url: str, now: datetime) -> BatchPredictionJob:
    """Let a job that waits run."""
    job = get_job(tx, name)
    if job.state is not BatchState.PENDING:
        return job
    return _store(tx, job.begun(output_url, now), now)


def add_part(
    tx: InferenceTx, name: str, part: WrittenPart, work_s: float, now: datetime
) -> BatchPredictionJob:
    """Count a part that is in the object store; a repeat, or a job that has stopped, stays."""
    job = get_job(tx, name)
    if job.state is not BatchState.RUNNING or job.todo[0].path != part.path:
        return job
    return _store(tx, job.with_part(part, work_s), now)


def succeed(tx: InferenceTx, name: str, manifest_digest: str, now: datetime) -> BatchPredictionJob:
    """End a job whose manifest is in the object store."""
    job = get_job(tx, name)
    if job.state is not BatchState.FINISHING:
        return job
    done = replace(job, state=BatchState.SUCCEEDED, manifest_digest=manifest_digest, end_time=now)
    return _store(tx, done, now)


def give_up(tx: InferenceTx, name: str, error: ServiceError, now: datetime) -> BatchPredictionJob:
    """Stop a job that can't succeed; what it wrote is removed before it is over."""
    job = get_job(tx, name)
    if job.state not in (BatchState.PENDING, BatchState.RUNNING):
        return job
    failing = replace(job, state=BatchState.FAILING, message=str(error), reason=error.reason)
    return _store(tx, failing, now)


def end_removed(tx: InferenceTx, name: str, now: datetime) -> BatchPredictionJob:
    """End a job whose files are gone from the object store."""
    job = get_job(tx, name)
    ends = {
        BatchState.CANCELLING: BatchState.CANCELLED,
        BatchState.FAILING: BatchState.FAILED,
    }
    if job.state not in ends:
        return job
    over = replace(job, state=ends[job.state], written=(), output_url="", end_time=now)
    return _store(tx, over, now)


def forget(tx: InferenceTx, name: str) -> None:
    """Drop a deleted job whose files are gone from the object store; again changes nothing."""
    job = tx.batch_jobs.get(name)
    if job is not None and job.state is BatchState.DELETING:
        tx.batch_jobs.remove(name)


def _current(tx: InferenceTx, name: str, etag: str) -> BatchPredictionJob:
    job = get_job(tx, name)
    job.meta.check_etag(etag)
    return job


def _store(tx: InferenceTx, job: BatchPredictionJob, now: datetime) -> BatchPredictionJob:
    kept = replace(job, meta=job.meta.touched(now))
    tx.batch_jobs.replace(kept)
    return kept
