"""The worker's side of the contract: messages to and from the core's values."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict, ParseDict
from google.type.money_pb2 import Money
from roundhouse.trainer.v1 import job_pb2, reproduction_pb2, worker_service_pb2

from services.common.money import MICROS
from services.common.rpc.convert import (
    from_duration,
    from_struct,
    from_timestamp,
    to_duration,
    to_struct,
    to_timestamp,
)
from services.trainer.core.cross_validation import FoldScores
from services.trainer.core.failures import TrainingFailure
from services.trainer.core.gains import Gain
from services.trainer.core.jobs import MetricPoint, StoredCheckpoint, Trial
from services.trainer.core.parameters import Parameters
from services.trainer.core.reproduction import Comparison, comparison_to_json
from services.trainer.core.spec import JobSpec, spec_from_json
from services.trainer.core.states import TrialState


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has been given.

    Attributes:
        claim: To speak under.
        job: Job's resource name.
        uid: Job's uid.
        attempt: Number of the attempt.
        spec: What to train.
        trials: As earlier attempts left them, in their order.
        checkpoints: Newest first.
        worked_s: Time that earlier attempts have worked on the job.
        ttl_s: How long the claim holds without a heartbeat.
        granted_s: How long the attempt may go on without one.
        cost_micros: What the job has cost so far.
        correlation_id: Episode that the attempt belongs to; may be empty.
        causation_id: Event that it stems from.
        traceparent: Trace that it belongs to; may be empty.
        reproduces: Job that it repeats, by resource name; empty of one that makes a version.
        tolerance: The most that numbers may differ by, where it repeats one.
    """

    claim: worker_service_pb2.Claim
    job: str
    uid: uuid.UUID
    attempt: int
    spec: JobSpec
    trials: tuple[Trial, ...]
    checkpoints: tuple[StoredCheckpoint, ...]
    worked_s: float
    ttl_s: float
    granted_s: float
    cost_micros: int
    correlation_id: str
    causation_id: str
    traceparent: str
    reproduces: str = ""
    tolerance: float = 0.0


def work_of(claimed: worker_service_pb2.ClaimJobResponse) -> Work:
    """What the trainer's answer to a claim says."""
    job = claimed.training_job
    return Work(
        claim=claimed.claim,
        job=job.name,
        uid=uuid.UUID(job.uid),
        attempt=job.attempts[-1].number,
        spec=spec_of(job),
        trials=tuple(trial_of(index, found) for index, found in enumerate(claimed.trials)),
        checkpoints=tuple(checkpoint_of(found) for found in claimed.checkpoints),
        worked_s=sum(
            (from_timestamp(each.end_time) - from_timestamp(each.start_time)).total_seconds()
            for each in job.attempts[:-1]
        ),
        ttl_s=from_duration(claimed.ttl),
        granted_s=from_duration(claimed.granted),
        cost_micros=micros_of(job.cost),
        correlation_id=claimed.correlation_id,
        causation_id=claimed.causation_id,
        traceparent=claimed.traceparent,
        reproduces=job.reproduces,
        tolerance=job.reproduction.tolerance,
    )


def spec_of(job: job_pb2.TrainingJob) -> JobSpec:
    """The spec of a job as the trainer has it."""
    return spec_from_json(MessageToDict(job.spec, preserving_proto_field_name=True))


def trial_to_proto(job: str, trial: Trial) -> job_pb2.Trial:
    """A trial as the worker reports it."""
    return job_pb2.Trial(
        name=trial_name(job, trial.id),
        algorithm=trial.algorithm,
        parameters=to_struct(trial.parameters),
        state=job_pb2.Trial.State.Value(f"STATE_{trial.state.value}"),
        progress=trial.progress,
        metrics=trial.metrics,
        duration=to_duration(trial.duration_s),
        message=trial.message,
        chosen_parameters=to_struct(trial.chosen_parameters),
        candidate=trial.candidate,
        folds=[
            job_pb2.Trial.Fold(learn_rows=fold.learn_rows, rows=fold.rows, metrics=fold.metrics)
            for fold in trial.folds
        ],
        gains={
            name: job_pb2.Trial.Gain(value=gain.value, low=gain.low, high=gain.high)
            for name, gain in trial.gains.items()
        },
    )


def point_to_proto(point: MetricPoint) -> job_pb2.MetricPoint:
    """A point as the worker reports it."""
    return job_pb2.MetricPoint(
        trial=point.trial,
        series=point.series,
        step=point.step,
        value=point.value,
        time=to_timestamp(point.time),
    )


def point_of(point: job_pb2.MetricPoint) -> MetricPoint:
    """A point as the trainer has it."""
    return MetricPoint(
        trial=point.trial,
        series=point.series,
        step=point.step,
        value=point.value,
        time=from_timestamp(point.time),
    )


def comparison_to_proto(found: Comparison) -> reproduction_pb2.Reproduction.Comparison:
    """A comparison as the worker reports it."""
    return ParseDict(comparison_to_json(found), reproduction_pb2.Reproduction.Comparison())


def checkpoint_to_proto(stored: StoredCheckpoint) -> worker_service_pb2.Checkpoint:
    """A checkpoint as the worker speaks of it."""
    return worker_service_pb2.Checkpoint(
        trial=stored.trial,
        step=stored.step,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        loss=stored.loss,
    )


def checkpoint_of(found: worker_service_pb2.Checkpoint) -> StoredCheckpoint:
    """A checkpoint as the trainer speaks of it."""
    return StoredCheckpoint(
        trial=found.trial,
        step=found.step,
        digest=found.digest,
        size_bytes=found.size_bytes,
        create_time=from_timestamp(found.create_time),
        loss=found.loss if found.HasField("loss") else None,
    )


def error_to_proto(failure: TrainingFailure) -> job_pb2.JobError:
    """A failure as the worker reports it."""
    name = f"ERROR_CLASS_{failure.error_class.value}"
    return job_pb2.JobError(
        error_class=job_pb2.JobError.ErrorClass.Value(name), message=str(failure)
    )


def micros_of(money: Money) -> int:
    """Millionths."""
    return int(money.units) * MICROS + int(money.nanos) // 1000


def trial_name(job: str, trial: str) -> str:
    """Resource name of a job's trial."""
    return f"{job}/trials/{trial}"


def trial_of(index: int, found: job_pb2.Trial) -> Trial:
    """The trial at `index` of the job's, as the trainer has it."""
    return Trial(
        id=found.name.rpartition("/")[2],
        index=index,
        algorithm=found.algorithm,
        parameters=_numbers(from_struct(found.parameters)),
        state=TrialState(job_pb2.Trial.State.Name(found.state).removeprefix("STATE_")),
        progress=found.progress,
        metrics=dict(found.metrics),
        duration_s=from_duration(found.duration),
        message=found.message,
        chosen_parameters=_numbers(from_struct(found.chosen_parameters)),
        candidate=found.candidate,
        folds=tuple(
            FoldScores(fold.learn_rows, fold.rows, dict(fold.metrics)) for fold in found.folds
        ),
        gains={name: Gain(gain.value, gain.low, gain.high) for name, gain in found.gains.items()},
    )


def _numbers(values: dict[str, object]) -> Parameters:
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
