"""What became of training jobs, as the trainer tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import structlog
from roundhouse.common.v1 import events_pb2 as events_pb
from roundhouse.trainer.v1 import job_pb2 as job_pb
from roundhouse.trainer.v1 import job_service_pb2 as service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as service_grpc

from services.common.names import parent_of
from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import RemoteError, remote_errors
from services.monitor.core.alerts.failures import Findings, JobFailure, LastValue

log = structlog.get_logger()

LOG_LINES: Final = 40
SERIES: Final = 32

RECURRING: Final = "recurring"
"""Label of jobs that come again and again: alerts are about their model, not about one run."""

_PEER: Final = "trainer"
_TIMEOUT_S: Final = 10.0
_PAGE_SIZE: Final = 1000
_MOST_PAGES: Final = 20
_RECOVERIES: Final = {
    job_pb.TrainingJob.STATE_SUCCEEDED: "The job succeeded.",
    job_pb.TrainingJob.STATE_CANCELLED: "The job was cancelled.",
}
_OVER: Final = frozenset({*_RECOVERIES, job_pb.TrainingJob.STATE_FAILED})


@dataclass(frozen=True, slots=True)
class JobNews:
    """How a job stands.

    Attributes:
        job: By resource name.
        line: What alerts about it are about.
        failures: All its attempts that ended badly, the oldest first.
        is_over: Whether there is no further attempt.
        recovery: Why its line is no trouble any more; empty where it is.
        goes_on: Whether it is at work, or has been done.
    """

    job: str
    line: str
    failures: tuple[JobFailure, ...]
    is_over: bool
    recovery: str
    goes_on: bool


class FailedJobs:
    """Reads jobs and what lies around a failure.

    Args:
        channel: To the trainer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._jobs = service_grpc.JobServiceStub(channel)

    async def news(self, event: events_pb.Event) -> JobNews | None:
        """How the job of an event stands; None where nothing can have failed, or it is deleted.

        Raises:
            RemoteError: The trainer can't tell at present.
        """
        if event.type.endswith(".queued") and not event.data["attempt"]:
            return None
        job = await self._job(event.subject)
        return None if job is None else _news(job)

    async def has_gone_on(self, failure: JobFailure) -> bool:
        """Whether a job has got further since a failure, or is over.

        Raises:
            RemoteError: The trainer can't tell at present.
        """
        job = await self._job(failure.job)
        return job is None or job.state in _OVER or job.progress > failure.progress

    async def findings(self, failure: JobFailure) -> Findings:
        """What lies around a failure; an alert without it is better than none."""
        lines: tuple[str, ...] = ()
        metrics: tuple[LastValue, ...] = ()
        checkpoint = ""
        with _without(failure):
            lines = await self._log(failure.job)
        with _without(failure):
            metrics = await self._metrics(failure.job)
        with _without(failure):
            checkpoint = await self._checkpoint(failure.job)
        return Findings(lines, metrics, checkpoint)

    async def _job(self, name: str) -> job_pb.TrainingJob | None:
        try:
            with remote_errors(_PEER):
                return await self._jobs.GetTrainingJob(
                    service_pb.GetTrainingJobRequest(name=name), timeout=_TIMEOUT_S
                )
        except RemoteError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def _log(self, job: str) -> tuple[str, ...]:
        lines: deque[str] = deque(maxlen=LOG_LINES)
        with remote_errors(_PEER):
            async for line in self._jobs.TailLogs(
                service_pb.TailLogsRequest(name=job), timeout=_TIMEOUT_S
            ):
                lines.append(line.text)
        return tuple(lines)

    async def _metrics(self, job: str) -> tuple[LastValue, ...]:
        newest: dict[tuple[str, str], tuple[float, LastValue]] = {}
        request = service_pb.ReadMetricsRequest(parent=job, page_size=_PAGE_SIZE)
        for _ in range(_MOST_PAGES):
            with remote_errors(_PEER):
                page = await self._jobs.ReadMetrics(request, timeout=_TIMEOUT_S)
            for point in page.points:
                value = LastValue(point.trial, point.series, point.step, point.value)
                newest[point.trial, point.series] = point.time.seconds, value
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        latest = sorted(newest.values(), key=lambda each: -each[0])[:SERIES]
        return tuple(value for _, value in latest)

    async def _checkpoint(self, job: str) -> str:
        with remote_errors(_PEER):
            page = await self._jobs.ListCheckpoints(
                service_pb.ListCheckpointsRequest(parent=job, page_size=_PAGE_SIZE),
                timeout=_TIMEOUT_S,
            )
        if not page.checkpoints:
            return ""
        newest = max(page.checkpoints, key=lambda each: from_timestamp(each.create_time))
        return f"{newest.trial}, step {newest.step}, {newest.digest}"


@contextmanager
def _without(failure: JobFailure) -> Iterator[None]:
    """Goes on without what can't be read inside the block."""
    try:
        yield
    except RemoteError as error:
        log.warning("failures.evidence_missing", job=failure.job, cause=str(error))


def _news(job: job_pb.TrainingJob) -> JobNews:
    comes_again = RECURRING in job.labels or "episode" in job.labels
    line = job.spec.model if comes_again else job.name
    recovery = _RECOVERIES.get(job.state, "")
    if comes_again and job.state == job_pb.TrainingJob.STATE_CANCELLED:
        recovery = ""  # One run that nobody wanted says nothing about the others.
    return JobNews(
        job.name,
        line,
        tuple(_failures(job, line)),
        job.state in _OVER,
        recovery,
        goes_on=job.state
        not in (job_pb.TrainingJob.STATE_BUDGET_EXCEEDED, job_pb.TrainingJob.STATE_QUEUED),
    )


def _failures(job: job_pb.TrainingJob, line: str) -> Iterator[JobFailure]:
    failed = job.state == job_pb.TrainingJob.STATE_FAILED
    for attempt in job.attempts:
        if attempt.HasField("error"):
            final = failed and attempt.number == len(job.attempts)
            yield _failure(job, line, attempt, attempt.error, is_final=final)
    if job.state == job_pb.TrainingJob.STATE_BUDGET_EXCEEDED:
        last = job.attempts[-1] if job.attempts else job_pb.Attempt(end_time=job.update_time)
        yield _failure(job, line, last, job.error, is_final=False)


def _failure(
    job: job_pb.TrainingJob,
    line: str,
    attempt: job_pb.Attempt,
    error: job_pb.JobError,
    *,
    is_final: bool,
) -> JobFailure:
    time = from_timestamp(attempt.end_time)
    kind = job_pb.JobError.ErrorClass.Name(error.error_class).removeprefix("ERROR_CLASS_")
    uid = f"{job.uid}-{attempt.number}-{kind.lower().replace('_', '-')}"
    return JobFailure(
        name=f"{parent_of(job.name)}/jobFailures/{uid}",
        job=job.name,
        line=line,
        error_class=kind,
        message=error.message,
        attempt=attempt.number,
        worker=attempt.worker,
        node=attempt.node,
        time=time,
        owner=job.owner,
        model=job.spec.model,
        snapshot=job.spec.snapshot,
        episode=job.labels.get("episode", ""),
        trace_id=job.trace_id,
        progress=job.progress,
        critical=job.critical,
        is_final=is_final,
    )
