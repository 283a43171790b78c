"""Rows of the trainer's tables to and from the core's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Row

from services.common.names import parent_of
from services.common.store.labels import label_values
from services.trainer.core.cross_validation import FoldScores
from services.trainer.core.failures import ErrorClass
from services.trainer.core.gains import Gain
from services.trainer.core.jobs import (
    Attempt,
    JobError,
    LogLine,
    MetricPoint,
    StoredCheckpoint,
    TrainingJob,
    Trial,
)
from services.trainer.core.money import Charge
from services.trainer.core.reproduction import reproduction_from_json, reproduction_to_json
from services.trainer.core.spec import spec_from_json, spec_to_json
from services.trainer.core.states import AttemptState, JobState, TrialState

AnyRow = Row[Any]  # a row's columns differ in type
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cleanup:
    """A job that is over, and may have left checkpoints or an unfinished version.

    Attributes:
        job_uid: Of the job.
        job: Its resource name.
        model: That its version was to be of.
        succeeded: Its version is finished.
    """

    job_uid: str
    job: str
    model: str
    succeeded: bool


def job_values(job: TrainingJob) -> Values:
    """A job as a row, without its attempts."""
    return {
        "name": job.name,
        "project": parent_of(job.name),
        "uid": job.uid,
        "revision": job.revision,
        "create_time": job.create_time,
        "update_time": job.update_time,
        "labels": dict(job.labels),
        "spec": spec_to_json(job.spec),
        "state": job.state.value,
        "pause_requested": job.pause_requested,
        "ready_time": job.ready_time,
        "model_version": job.model_version,
        "evaluation": job.evaluation,
        "best_trial": job.best_trial,
        **_error_values(job.error),
        "correlation_id": job.correlation_id,
        "submit_event": job.submit_event,
        "traceparent": job.traceparent,
        "owner": job.owner,
        "model": job.spec.model,
        "budget_micros": job.budget_micros,
        "estimate_micros": job.estimate_micros,
        "budget_reached": job.budget_reached,
        "priority": job.priority,
        "preempt_requested": job.preempt_requested,
        "critical": job.critical,
        "queue": job.queue,
        "reproduces": job.reproduces,
        "reproduction": (
            {} if job.reproduction is None else reproduction_to_json(job.reproduction)
        ),
    }


def job_of(row: AnyRow, attempts: Sequence[AnyRow]) -> TrainingJob:
    """The job in `row`, with its attempts, oldest first."""
    return TrainingJob(
        name=row.name,
        uid=row.uid,
        revision=row.revision,
        create_time=row.create_time,
        update_time=row.update_time,
        labels=row.labels,
        spec=spec_from_json(row.spec),
        state=JobState(row.state),
        pause_requested=row.pause_requested,
        ready_time=row.ready_time,
        attempts=tuple(_attempt_of(attempt) for attempt in attempts),
        model_version=row.model_version,
        evaluation=row.evaluation,
        best_trial=row.best_trial,
        error=_error_of(row),
        correlation_id=row.correlation_id,
        submit_event=row.submit_event,
        traceparent=row.traceparent,
        owner=row.owner,
        budget_micros=row.budget_micros,
        estimate_micros=row.estimate_micros,
        budget_reached=row.budget_reached,
        priority=row.priority,
        preempt_requested=row.preempt_requested,
        critical=row.critical,
        queue=row.queue,
        reproduction=reproduction_from_json(row.reproduction) if row.reproduces else None,
    )


def job_label_values(job: TrainingJob) -> list[Values]:
    """A job's labels as rows."""
    copies = {"name": job.name, "create_time": job.create_time}
    return label_values(parent_of(job.name), job.labels, copies)


def attempt_values(job_uid: str, attempt: Attempt) -> Values:
    """An attempt as a row."""
    return {
        "job_uid": job_uid,
        "number": attempt.number,
        "worker": attempt.worker,
        "fence": attempt.fence,
        "state": attempt.state.value,
        "start_time": attempt.start_time,
        "end_time": attempt.end_time,
        **_error_values(attempt.error),
        "reported": attempt.reported,
        "rate_micros": attempt.rate_micros,
        "price_version": attempt.price_version,
        "charged_s": attempt.charged_s,
        "granted_s": attempt.granted_s,
        "node": attempt.node,
        "share": attempt.share,
    }


def trial_values(job_uid: str, trial: Trial) -> Values:
    """A trial as a row."""
    return {
        "job_uid": job_uid,
        "position": trial.index,
        "id": trial.id,
        "algorithm": trial.algorithm,
        "parameters": dict(trial.parameters),
        "state": trial.state.value,
        "progress": trial.progress,
        "metrics": dict(trial.metrics),
        "duration_s": trial.duration_s,
        "message": trial.message,
        "chosen_parameters": dict(trial.chosen_parameters),
        "candidate": trial.candidate,
        "folds": [
            {"learn_rows": fold.learn_rows, "rows": fold.rows, "metrics": dict(fold.metrics)}
            for fold in trial.folds
        ],
        "gains": {name: asdict(gain) for name, gain in trial.gains.items()},
    }


def trial_of(row: AnyRow) -> Trial:
    """The trial in `row`."""
    return Trial(
        id=row.id,
        index=row.position,
        algorithm=row.algorithm,
        parameters=row.parameters,
        state=TrialState(row.state),
        progress=row.progress,
        metrics=row.metrics,
        duration_s=row.duration_s,
        message=row.message,
        chosen_parameters=row.chosen_parameters,
        candidate=row.candidate,
        folds=tuple(FoldScores(**fold) for fold in row.folds),
        gains={name: Gain(**gain) for name, gain in row.gains.items()},
    )


def charge_values(charge: Charge) -> Values:
    """An entry of the ledger as a row."""
    return {
        "job_uid": charge.job_uid,
        "attempt": charge.attempt,
        "tick": charge.tick,
        "project": parent_of(charge.job),
        "job": charge.job,
        "model": charge.model,
        "owner": charge.owner,
        "month": charge.month,
        "start_time": charge.start_time,
        "seconds": charge.seconds,
        "amount_micros": charge.amount_micros,
        "price_version": charge.price_version,
    }


POINT_COLUMNS: Final = ("job_uid", *MetricPoint._fields)


def point_values(job_uid: str, point: MetricPoint) -> tuple[object, ...]:
    """A point as a row of `POINT_COLUMNS`."""
    return (job_uid, *point)


def point_of(row: AnyRow) -> MetricPoint:
    """The point in `row`."""
    return MetricPoint(row.trial, row.series, row.step, row.value, row.time)


def log_line_of(row: AnyRow) -> LogLine:
    """The line in `row`."""
    return LogLine(row.number, row.time, row.attempt, row.text)


def checkpoint_values(job_uid: str, checkpoint: StoredCheckpoint) -> Values:
    """A checkpoint as a row."""
    return {
        "job_uid": job_uid,
        "trial": checkpoint.trial,
        "step": checkpoint.step,
        "digest": checkpoint.digest,
        "size_bytes": checkpoint.size_bytes,
        "loss": checkpoint.loss,
        "create_time": checkpoint.create_time,
    }


def checkpoint_of(row: AnyRow) -> StoredCheckpoint:
    """The checkpoint in `row`."""
    return StoredCheckpoint(
        row.trial, row.step, row.digest, row.size_bytes, row.create_time, row.loss
    )


def cleanup_of(row: AnyRow) -> Cleanup:
    """What is to be cleared away, by `row`."""
    return Cleanup(row.job_uid, row.job, row.model, row.succeeded)


def _attempt_of(row: AnyRow) -> Attempt:
    return Attempt(
        number=row.number,
        worker=row.worker,
        fence=row.fence,
        state=AttemptState(row.state),
        start_time=row.start_time,
        end_time=row.end_time,
        error=_error_of(row),
        reported=row.reported,
        rate_micros=row.rate_micros,
        price_version=row.price_version,
        charged_s=row.charged_s,
        granted_s=row.granted_s,
        node=row.node,
        share=row.share,
    )


def _error_values(error: JobError | None) -> Values:
    return {
        "error_class": None if error is None else error.error_class.value,
        "error_message": None if error is None else error.message,
    }


def _error_of(row: AnyRow) -> JobError | None:
    if row.error_class is None:
        return None
    return JobError(ErrorClass(row.error_class), row.error_message)
