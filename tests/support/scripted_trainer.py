"""A trainer whose jobs fail as a test says, and that tells of it as the real one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import grpc
from roundhouse.common.v1 import events_pb2, events_pb2_grpc
from roundhouse.trainer.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc, worker_service_pb2

from services.common.errors import NotFound
from services.common.rpc.convert import to_timestamp
from services.common.rpc.server import Api, serving

PROJECT = "projects/default"
Job = job_pb2.TrainingJob


class JobMissing(NotFound):
    """What the trainer says of a job that it does not have."""

    reason = "JOB_NOT_FOUND"


class ScriptedTrainer(
    job_service_pb2_grpc.JobServiceServicer, events_pb2_grpc.EventServiceServicer
):
    """Jobs by name, and the events about them from the first on.

    Attributes:
        address: Where it answers.
        channel: To it.
        first_look: Set once somebody goes on from a cursor.
    """

    address: str
    channel: grpc.aio.Channel

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.TrainingJob] = {}
        self.first_look = asyncio.Event()
        self._events: list[events_pb2.Event] = []

    def tell(self, state: str, name: str, time: datetime) -> None:
        """Announce a state of a job."""
        number = len(self._events) + 1
        event = events_pb2.Event(
            id=f"event-{number}",
            cursor=f"{number:08}",
            type=f"roundhouse.trainer.job.{state}",
            subject=name,
            time=to_timestamp(time),
        )
        attempts = len(self.jobs[name].attempts) if name in self.jobs else 0
        event.data.update({"attempt": attempts})
        self._events.append(event)

    def submit(self, job_id: str, time: datetime, **fields: Any) -> str:
        """A new job, queued."""
        name = f"{PROJECT}/trainingJobs/{job_id}"
        spec = job_pb2.JobSpec(
            model=f"{PROJECT}/models/delays", snapshot=f"{PROJECT}/datasets/flights/snapshots/s"
        )
        fields = {"owner": "ann", "trace_id": "0af7651916cd43dd8448eb211c80319c", **fields}
        self.jobs[name] = Job(
            name=name, uid=f"uid-{job_id}", spec=spec, state=Job.STATE_QUEUED, **fields
        )
        self.tell("queued", name, time)
        return name

    def fail(
        self, name: str, error_class: str, time: datetime, *, node: str = "n7", final: bool = False
    ) -> None:
        """End an attempt badly; the job is queued again, or has failed."""
        job = self.jobs[name]
        kind = job_pb2.JobError.ErrorClass.Value(f"ERROR_CLASS_{error_class}")
        error = job_pb2.JobError(error_class=kind, message=f"{error_class} it is, <!here>.")
        lost = job_pb2.Attempt(
            number=len(job.attempts) + 1,
            worker="w",
            node=node,
            state=job_pb2.Attempt.STATE_FAILED,
            end_time=to_timestamp(time),
            error=error,
        )
        job.attempts.append(lost)
        if final:
            job.error.CopyFrom(error)
        job.state = Job.STATE_FAILED if final else Job.STATE_QUEUED
        self.tell("failed" if final else "queued", name, time)

    def end(self, name: str, state: str, time: datetime) -> None:
        """Have a job succeed or be cancelled, or stop for a budget, or go on."""
        self.jobs[name].state = Job.State.Value(f"STATE_{state.upper()}")
        self.tell(state, name, time)

    async def GetTrainingJob(
        self, request: job_service_pb2.GetTrainingJobRequest, _: Any
    ) -> job_pb2.TrainingJob:
        if request.name not in self.jobs:
            raise JobMissing("There is no such job.")
        return self.jobs[request.name]

    async def TailLogs(
        self, request: job_service_pb2.TailLogsRequest, _: Any
    ) -> AsyncIterator[job_pb2.LogLine]:
        for number in range(1, 101):
            yield job_pb2.LogLine(number=number, text=f"line {number}")

    async def ReadMetrics(
        self, request: job_service_pb2.ReadMetricsRequest, _: Any
    ) -> job_service_pb2.ReadMetricsResponse:
        points = [
            job_pb2.MetricPoint(trial="mlp-1", series="train_loss", step=step, value=1 / (step + 1))
            for step in range(4)
        ]
        return job_service_pb2.ReadMetricsResponse(points=points)

    async def ListCheckpoints(
        self, request: job_service_pb2.ListCheckpointsRequest, _: Any
    ) -> job_service_pb2.ListCheckpointsResponse:
        found = worker_service_pb2.Checkpoint(trial="mlp-1", step=3, digest="sha256:ab")
        return job_service_pb2.ListCheckpointsResponse(checkpoints=[found])

    async def ListTrainingJobs(
        self, request: job_service_pb2.ListTrainingJobsRequest, _: Any
    ) -> job_service_pb2.ListTrainingJobsResponse:
        return job_service_pb2.ListTrainingJobsResponse(training_jobs=self.jobs.values())

    async def WatchEvents(
        self, request: events_pb2.WatchEventsRequest, _: Any
    ) -> AsyncIterator[events_pb2.WatchEventsResponse]:
        if request.cursor:
            self.first_look.set()
        newest = f"{len(self._events):08}"
        for event in self._events:
            if event.cursor > request.cursor and event.type in request.type_prefixes:
                yield events_pb2.WatchEventsResponse(event=event)
        yield events_pb2.WatchEventsResponse(bookmark=newest)


@asynccontextmanager
async def scripted_trainer() -> AsyncIterator[ScriptedTrainer]:
    """The trainer, at work until the block ends."""
    trainer = ScriptedTrainer()
    apis: list[Api] = [
        (
            "roundhouse.trainer.v1.JobService",
            lambda server: job_service_pb2_grpc.add_JobServiceServicer_to_server(trainer, server),
        ),
        (
            "roundhouse.common.v1.EventService",
            lambda server: events_pb2_grpc.add_EventServiceServicer_to_server(trainer, server),
        ),
    ]
    async with serving("trainer", "127.0.0.1:0", apis) as server:
        server.set_serving()
        trainer.address = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(trainer.address) as trainer.channel:
            yield trainer
