"""Training jobs, read from the trainer for the dashboard."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import grpc
from roundhouse.trainer.v1 import job_pb2 as job_pb
from roundhouse.trainer.v1 import job_service_pb2 as service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as service_grpc

from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import remote_errors
from services.monitor.core.training import AttemptLine, CheckpointLine, Curve, JobLine, JobView

JOBS: Final = 50
LOG_LINES: Final = 40
CHECKPOINTS: Final = 50

MOST_POINTS: Final = 10_000
"""Of all curves of a job that are read."""

CURVE_POINTS: Final = 200
"""Of one curve that are shown: the others are left out evenly."""

_PEER: Final = "trainer"
_PAGE_SIZE: Final = 1000
_UNDER_WAY: Final = " AND ".join(
    f"state != {state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED")
)


class TrainerJobs:
    """Implements `TrainingJobs`.

    Args:
        channel: To the trainer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._jobs = service_grpc.JobServiceStub(channel)

    async def under_way(self, project: str) -> Sequence[JobLine]:
        """See `TrainingJobs`."""
        return await self._listed(project, _UNDER_WAY)

    async def newest(self, project: str) -> Sequence[JobLine]:
        """See `TrainingJobs`."""
        return await self._listed(project, "")

    async def view(self, name: str) -> JobView:
        """See `TrainingJobs`."""
        with remote_errors(_PEER):
            job = await self._jobs.GetTrainingJob(service_pb.GetTrainingJobRequest(name=name))
            checkpoints = await self._jobs.ListCheckpoints(
                service_pb.ListCheckpointsRequest(parent=name, page_size=CHECKPOINTS)
            )
            log: deque[str] = deque(maxlen=LOG_LINES)
            async for line in self._jobs.TailLogs(service_pb.TailLogsRequest(name=name)):
                log.append(line.text)
        curves, left_out = await self._curves(name)
        return JobView(
            job=_line(job),
            attempts=[_attempt(each) for each in job.attempts],
            curves=curves,
            left_out=left_out,
            checkpoints=[
                CheckpointLine(
                    each.trial,
                    each.step,
                    each.digest,
                    each.size_bytes,
                    from_timestamp(each.create_time),
                )
                for each in checkpoints.checkpoints
            ],
            log=list(log),
        )

    async def _listed(self, project: str, condition: str) -> Sequence[JobLine]:
        request = service_pb.ListTrainingJobsRequest(
            parent=project, page_size=JOBS, filter=condition
        )
        with remote_errors(_PEER):
            page = await self._jobs.ListTrainingJobs(request)
        return [_line(job) for job in page.training_jobs]

    async def _curves(self, name: str) -> tuple[list[Curve], int]:
        points: dict[tuple[str, str], list[tuple[int, float]]] = {}
        request = service_pb.ReadMetricsRequest(parent=name, page_size=_PAGE_SIZE)
        read = 0
        while read < MOST_POINTS:
            with remote_errors(_PEER):
                page = await self._jobs.ReadMetrics(request)
            for point in page.points:
                points.setdefault((point.trial, point.series), []).append((point.step, point.value))
            read += len(page.points)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        curves = [Curve(trial, series, _thinned(of)) for (trial, series), of in points.items()]
        return curves, read - sum(len(curve.points) for curve in curves)


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most so many of them, evenly, the last one always."""
    stride = -(-len(points) // CURVE_POINTS)
    return [*points[:-1:stride], points[-1]]


def _line(job: job_pb.TrainingJob) -> JobLine:
    failed = [attempt.error for attempt in job.attempts[-1:] if attempt.HasField("error")]
    error = job.error if job.HasField("error") else next(iter(failed), None)
    return JobLine(
        name=job.name,
        state=job_pb.TrainingJob.State.Name(job.state).removeprefix("STATE_"),
        model=job.spec.model,
        owner=job.owner,
        priority=job.priority,
        progress=job.progress,
        attempts=len(job.attempts),
        error_class=_class_of(error),
        message=error.message if error else "",
        trace_id=job.trace_id,
        create_time=from_timestamp(job.create_time),
        update_time=from_timestamp(job.update_time),
    )


def _attempt(attempt: job_pb.Attempt) -> AttemptLine:
    error = attempt.error if attempt.HasField("error") else None
    return AttemptLine(
        number=attempt.number,
        node=attempt.node,
        state=job_pb.Attempt.State.Name(attempt.state).removeprefix("STATE_"),
        error_class=_class_of(error),
        message=error.message if error else "",
        start=from_timestamp(attempt.start_time),
        end=from_timestamp(attempt.end_time) if attempt.HasField("end_time") else None,
    )


def _class_of(error: job_pb.JobError | None) -> str:
    if error is None:
        return ""
    return job_pb.JobError.ErrorClass.Name(error.error_class).removeprefix("ERROR_CLASS_")
