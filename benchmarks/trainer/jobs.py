"""Jobs of one trainer, submitted, followed and timed by what the trainer has stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from roundhouse.common.v1 import events_pb2, events_pb2_grpc
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2 as pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as pb_grpc

from services.trainer.core.spec import JobSpec, spec_to_json
from tests.support.calls import request_id

_PROJECT: Final = "projects/default"
_CALL_S: Final = 30.0
_POLL_S: Final = 0.1
_PAGE: Final = 1000
_OVER: Final = ("SUCCEEDED", "FAILED", "CANCELLED", "BUDGET_EXCEEDED")


@dataclass(frozen=True, slots=True)
class Measured:
    """One step of a fit: which trial's and when, in seconds since the epoch."""

    trial: str
    time_s: float


class Jobs:
    """Calls to one trainer.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._jobs = pb_grpc.JobServiceStub(self._channel)
        self._events = events_pb2_grpc.EventServiceStub(self._channel)

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def submit(self, job_id: str, spec: JobSpec) -> str:
        """The name of a new job."""
        job = job_pb2.TrainingJob(spec=ParseDict(spec_to_json(spec), job_pb2.JobSpec()))
        request = pb.CreateTrainingJobRequest(
            parent=_PROJECT,
            training_job_id=job_id,
            training_job=job,
            request_id=request_id(),
        )
        return self._jobs.CreateTrainingJob(request, timeout=_CALL_S).name

    def until(
        self, name: str, holds: Callable[[job_pb2.TrainingJob], bool], within_s: float = 1800.0
    ) -> job_pb2.TrainingJob:
        """The job, once `holds`.

        Raises:
            RuntimeError: It has failed, or the time is over.
        """
        deadline = time.monotonic() + within_s
        while True:
            request = pb.GetTrainingJobRequest(name=name)
            job = self._jobs.GetTrainingJob(request, timeout=_CALL_S)
            if holds(job):
                return job
            if state_of(job) == "FAILED" or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is {state_of(job)}: {job.error.message}")
            time.sleep(_POLL_S)

    def succeeded(self, name: str) -> job_pb2.TrainingJob:
        """The job, once it has succeeded.

        Raises:
            RuntimeError: It has not.
        """
        job = self.until(name, lambda job: state_of(job) in _OVER)
        if state_of(job) != "SUCCEEDED":
            raise RuntimeError(f"{name} is {state_of(job)}: {job.error.message}")
        return job

    def cancel(self, name: str) -> None:
        """End the job, and wait until it has."""
        self._jobs.CancelTrainingJob(
            pb.CancelTrainingJobRequest(name=name, request_id=request_id()), timeout=_CALL_S
        )
        self.until(name, lambda job: state_of(job) in _OVER)

    def entered(self, name: str) -> dict[str, float]:
        """When the job entered each of its states for the first time, such as `running`."""
        request = events_pb2.WatchEventsRequest(subject=name, follow=False)
        found: dict[str, float] = {}
        for response in self._events.WatchEvents(request, timeout=_CALL_S):
            if response.HasField("event"):
                kind = response.event.type.rpartition(".")[2]
                found.setdefault(kind, seconds(response.event.time))
        return found

    def steps(self, name: str, series: str = "train_loss") -> list[Measured]:
        """Every step of the job's fits that is stored, each at its newest time."""
        found: list[Measured] = []
        request = pb.ReadMetricsRequest(parent=name, series=series, page_size=_PAGE)
        while True:
            page = self._jobs.ReadMetrics(request, timeout=_CALL_S)
            found += [Measured(point.trial, seconds(point.time)) for point in page.points]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def next_step_s(self, name: str, after_s: float, within_s: float = 120.0) -> float:
        """When the first step after a moment was measured.

        Raises:
            RuntimeError: None is in time.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            later = [each.time_s for each in self.steps(name) if each.time_s > after_s]
            if later:
                return min(later)
            time.sleep(_POLL_S)
        raise RuntimeError(f"{name} does not train")


def state_of(job: job_pb2.TrainingJob) -> str:
    """Such as `RUNNING`."""
    return job_pb2.TrainingJob.State.Name(job.state).removeprefix("STATE_")


def seconds(moment: Timestamp) -> float:
    """Since the epoch."""
    return moment.ToDatetime(tzinfo=UTC).timestamp()
