"""The worker's side of the contract: messages to and from the core's values."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from google.protobuf.json_format import ParseDict
from google.type.money_pb2 import Money
from roundhouse.trainer.v1 import job_pb2, reproduction_pb2, worker_service_pb2

from services.common.money import MICROS
from services.common.rpc.convert import (
    from_duration,
    from_timestamp,
)
from services.trainer.core.failures import TrainingFailure
from services.trainer.core.jobs import StoredCheckpoint, Trial
from services.trainer.core.reproduction import Comparison, comparison_to_json
from services.trainer.core.spec import JobSpec
from services.trainer.wire import checkpoint_from_proto, spec_from_proto, trial_from_proto


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
        spec=spec_from_proto(job.spec),
        trials=tuple(trial_from_proto(found, index) for index, found in enumerate(claimed.trials)),
        checkpoints=tuple(checkpoint_from_proto(found) for found in claimed.checkpoints),
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


def comparison_to_proto(found: Comparison) -> reproduction_pb2.Reproduction.Comparison:
    """A comparison as the worker reports it."""
    return ParseDict(comparison_to_json(found), reproduction_pb2.Reproduction.Comparison())


def error_to_proto(failure: TrainingFailure) -> job_pb2.JobError:
    """A failure as the worker reports it."""
    name = f"ERROR_CLASS_{failure.error_class.value}"
    return job_pb2.JobError(
        error_class=job_pb2.JobError.ErrorClass.Value(name), message=str(failure)
    )


def micros_of(money: Money) -> int:
    """Millionths."""
    return int(money.units) * MICROS + int(money.nanos) // 1000
