"""The trainer over gRPC, as the loop needs it."""

from __future__ import annotations

from typing import Final

import grpc
from roundhouse.trainer.v1 import job_pb2 as job_pb
from roundhouse.trainer.v1 import job_service_pb2 as service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as service_grpc

from services.common.money import MICROS, Money
from services.common.names import parent_of
from services.common.rpc.remote import remote_errors
from services.monitor.adapters.refusals import refusals
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import JobProgress, Outcome, StepRefused

_EVALUATION_TIMEOUT_S: Final = 120.0

_ENDED_BADLY: Final = frozenset(
    {job_pb.TrainingJob.STATE_FAILED, job_pb.TrainingJob.STATE_CANCELLED}
)
_WAITING: Final = frozenset(
    {job_pb.TrainingJob.STATE_PAUSED, job_pb.TrainingJob.STATE_BUDGET_EXCEEDED}
)
"""It goes on only when somebody resumes it."""


class TrainerClient:
    """Implements `TrainerPort`.

    Args:
        channel: To the trainer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._jobs = service_grpc.JobServiceStub(channel)

    async def submit(self, job_id: str, episode: Episode, request_id: str) -> str:
        """See `TrainerPort`."""
        template = await self.spec(episode.plan.template_job)
        template.snapshot = episode.snapshot
        template.parent_version = episode.champion
        request = service_pb.CreateTrainingJobRequest(
            parent=parent_of(episode.monitor),
            training_job_id=job_id,
            training_job=job_pb.TrainingJob(
                spec=template,
                labels={"episode": episode.meta.uid},
                critical=episode.plan.critical,
            ),
            request_id=request_id,
        )
        with refusals("trainer"), remote_errors("trainer"):
            job = await self._jobs.CreateTrainingJob(request)
        return job.name

    async def spec(self, job: str) -> job_pb.JobSpec:
        """The spec of a job."""
        with refusals("trainer"), remote_errors("trainer"):
            found = await self._jobs.GetTrainingJob(service_pb.GetTrainingJobRequest(name=job))
        return found.spec

    async def job(self, name: str) -> JobProgress:
        """See `TrainerPort`."""
        with refusals("trainer"), remote_errors("trainer"):
            job = await self._jobs.GetTrainingJob(service_pb.GetTrainingJobRequest(name=name))
        if job.state == job_pb.TrainingJob.STATE_SUCCEEDED:
            return JobProgress(
                Outcome.SUCCEEDED, job.model_version, job.evaluation, cost=_cost(job)
            )
        if job.state in _ENDED_BADLY:
            reason = job.error.message or "no error given"
            return JobProgress(
                Outcome.FAILED, message=f"{_standing(job)}: {reason}", cost=_cost(job)
            )
        if job.state in _WAITING:
            reason = job.error.message or "paused by hand"
            message = f"{_standing(job)} and waits to be resumed: {reason}"
            return JobProgress(Outcome.UNDER_WAY, message=message)
        if job.frozen_by:
            message = f"{_standing(job)} and is held by {job.frozen_by}"
            return JobProgress(Outcome.UNDER_WAY, message=message)
        return JobProgress(Outcome.UNDER_WAY)

    async def cost(self, job: str) -> Money | None:
        """See `JobCosts`."""
        try:
            with refusals("trainer"), remote_errors("trainer"):
                found = await self._jobs.GetTrainingJob(service_pb.GetTrainingJobRequest(name=job))
        except StepRefused:
            return None
        return _cost(found)

    async def evaluate(self, version: str, job: str, request_id: str) -> str:
        """See `TrainerPort`."""
        request = service_pb.EvaluateVersionRequest(
            version=version,
            training_job=job,
            split="test",
            purpose=service_pb.EvaluateVersionRequest.PURPOSE_BASELINE,
            request_id=request_id,
        )
        with refusals("trainer"), remote_errors("trainer"):
            answer = await self._jobs.EvaluateVersion(request, timeout=_EVALUATION_TIMEOUT_S)
        return answer.evaluation


def _cost(job: job_pb.TrainingJob) -> Money | None:
    if not job.HasField("cost"):
        return None
    micros = job.cost.units * MICROS + job.cost.nanos // 1000
    return Money(micros, job.cost.currency_code)


def _standing(job: job_pb.TrainingJob) -> str:
    return f"The training job is {job_pb.TrainingJob.State.Name(job.state).removeprefix('STATE_')}"
