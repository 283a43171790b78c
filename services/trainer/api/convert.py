"""The contract's messages to and from the core's values."""

from __future__ import annotations

from dataclasses import asdict

from google.protobuf.json_format import MessageToDict, ParseDict
from roundhouse.trainer.v1 import job_pb2, reproduction_pb2, worker_service_pb2

from services.common.rpc.convert import (
    from_struct,
    to_duration,
    to_money,
    to_timestamp,
)
from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import (
    Attempt,
    JobError,
    LogLine,
    TrainingJob,
)
from services.trainer.core.ports import TrainerReads
from services.trainer.core.reproduction import (
    Comparison,
    Reproduction,
    comparison_from_json,
    comparison_to_json,
)
from services.trainer.core.search import Proposal
from services.trainer.core.spec import spec_to_json
from services.trainer.core.states import JobState
from services.trainer.core.use_cases.attempts import Assignment, Claim
from services.trainer.core.use_cases.spending import Terms
from services.trainer.wire import checkpoint_to_proto, numbers, trial_to_proto


def job_to_proto(
    job: TrainingJob, progress: float, currency: str, frozen_by: str = ""
) -> job_pb2.TrainingJob:
    """A job on the wire.

    Args:
        job: The job.
        progress: Share of it that is done.
        currency: Of its amounts.
        frozen_by: Freeze that keeps it from being started; empty if none does.
    """
    return job_pb2.TrainingJob(
        name=job.name,
        uid=job.uid,
        etag=job.etag,
        create_time=to_timestamp(job.create_time),
        update_time=to_timestamp(job.update_time),
        labels=job.labels,
        spec=ParseDict(spec_to_json(job.spec), job_pb2.JobSpec()),
        state=job_pb2.TrainingJob.State.Value(f"STATE_{job.state.value}"),
        progress=progress,
        model_version=job.model_version,
        evaluation=job.evaluation,
        attempts=[_attempt_to_proto(attempt, currency) for attempt in job.attempts],
        error=None if job.error is None else _error_to_proto(job.error),
        best_trial=job.best_trial,
        owner=job.owner,
        priority=job.priority,
        critical=job.critical,
        queue=job.queue_name,
        reproduces=job.reproduces,
        reproduction=None if job.reproduction is None else _reproduction(job.reproduction),
        frozen_by=frozen_by,
        trace_id=job.trace_id,
        budget=None if job.budget_micros is None else to_money(job.budget_micros, currency),
        cost=to_money(job.cost_micros, currency),
        estimated_cost=to_money(job.estimate_micros, currency),
    )


def shown(job: TrainingJob, reads: TrainerReads, currency: str) -> job_pb2.TrainingJob:
    """A job as it stands in a transaction."""
    frozen_by = reads.holding([job]).get(job.name, "")
    return job_to_proto(job, reads.progress_of([job])[job.name], currency, frozen_by)


def stage_from_proto(stage: job_pb2.TrainingJob.State.ValueType) -> JobState:
    """A state that a worker reports."""
    return JobState(job_pb2.TrainingJob.State.Name(stage).removeprefix("STATE_"))


def proposal_from_proto(request: worker_service_pb2.AddTrialRequest) -> Proposal:
    """What a worker's sampler has chosen."""
    return Proposal(request.candidate, numbers(from_struct(request.parameters)))


def log_line_to_proto(line: LogLine) -> job_pb2.LogLine:
    """A line of a job's log."""
    return job_pb2.LogLine(
        number=line.number, time=to_timestamp(line.time), attempt=line.attempt, text=line.text
    )


def error_from_proto(error: job_pb2.JobError) -> JobError:
    """A failure as a worker reports it."""
    name = job_pb2.JobError.ErrorClass.Name(error.error_class).removeprefix("ERROR_CLASS_")
    return JobError(ErrorClass(name), error.message)


def comparison_from_proto(found: reproduction_pb2.Reproduction.Comparison) -> Comparison:
    """A comparison as a worker reports it."""
    return comparison_from_json(MessageToDict(found, preserving_proto_field_name=True))


def claim_from_proto(claim: worker_service_pb2.Claim) -> Claim:
    """Which attempt speaks."""
    return Claim(claim.job, claim.fence)


def assignment_to_proto(
    assignment: Assignment, terms: Terms
) -> worker_service_pb2.ClaimJobResponse:
    """What a worker is given to do."""
    job = assignment.job
    return worker_service_pb2.ClaimJobResponse(
        claim=worker_service_pb2.Claim(job=job.name, fence=assignment.claim.fence),
        training_job=job_to_proto(job, 0.0, terms.prices.currency),
        trials=[trial_to_proto(job.name, trial) for trial in assignment.trials],
        checkpoints=[checkpoint_to_proto(found) for found in assignment.checkpoints],
        ttl=to_duration(terms.ttl.total_seconds()),
        granted=to_duration(assignment.granted_s),
        correlation_id=job.correlation_id,
        causation_id=job.submit_event,
        traceparent=job.traceparent,
    )


def _attempt_to_proto(attempt: Attempt, currency: str) -> job_pb2.Attempt:
    return job_pb2.Attempt(
        number=attempt.number,
        worker=attempt.worker,
        state=job_pb2.Attempt.State.Value(f"STATE_{attempt.state.value}"),
        start_time=to_timestamp(attempt.start_time),
        end_time=None if attempt.end_time is None else to_timestamp(attempt.end_time),
        error=None if attempt.error is None else _error_to_proto(attempt.error),
        cost=to_money(attempt.charged_s * attempt.rate_micros, currency),
        charged=to_duration(attempt.charged_s),
        node=attempt.node,
    )


def _reproduction(found: Reproduction) -> reproduction_pb2.Reproduction:
    document = {
        "tolerance": found.tolerance,
        "verdict": None if found.verdict is None else found.verdict.value,
        "comparisons": [comparison_to_json(each) for each in found.comparisons],
        "parted": None if found.parted is None else asdict(found.parted),
    }
    return ParseDict(document, reproduction_pb2.Reproduction())


def _error_to_proto(error: JobError) -> job_pb2.JobError:
    return job_pb2.JobError(
        error_class=job_pb2.JobError.ErrorClass.Value(f"ERROR_CLASS_{error.error_class.value}"),
        message=error.message,
        retryable=error.error_class.retryable,
        remedy=error.error_class.remedy,
    )
