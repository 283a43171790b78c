"""What the loop asks of the trainer, and hears from it, while training is frozen."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2_grpc as job_grpc

from services.common.rpc.client import connect
from services.common.rpc.server import serving
from services.monitor.adapters.trainer_client import TrainerClient
from services.monitor.core.loop.ports import Outcome
from tests.contracts.minimal_requests import minimal_request
from tests.support.calls import PROJECT, request_id
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import DATASET, new_episode

FREEZE = f"{PROJECT}/freezes/budget"


class Trainer(job_grpc.JobServiceServicer):
    """Holds every job that is not critical."""

    def __init__(self) -> None:
        self.job = job_pb2.TrainingJob(spec=minimal_request(job_pb2.JobSpec.DESCRIPTOR))

    async def GetTrainingJob(self, request, _):
        return self.job

    async def CreateTrainingJob(self, request, _):
        self.job.CopyFrom(request.training_job)
        self.job.name = f"{request.parent}/trainingJobs/{request.training_job_id}"
        self.job.state = job_pb2.TrainingJob.STATE_QUEUED
        self.job.frozen_by = "" if self.job.critical else FREEZE
        return self.job


@asynccontextmanager
async def trainer_client():
    apis = [
        (
            "roundhouse.trainer.v1.JobService",
            lambda server: job_grpc.add_JobServiceServicer_to_server(Trainer(), server),
        )
    ]
    async with serving("trainer", "127.0.0.1:0", apis) as server:
        server.set_serving()
        async with connect(f"127.0.0.1:{server.port}") as channel:
            yield TrainerClient(channel)


@pytest.mark.parametrize("critical", [False, True])
async def test_a_job_that_a_freeze_holds_says_so_and_a_critical_policy_s_is_not_held(
    sqlite_url, critical
):
    async with monitor_database(sqlite_url) as database, trainer_client() as trainer:
        episode = await written(database, new_episode)
        plan = replace(episode.plan, critical=critical)
        episode = replace(episode, snapshot=f"{DATASET}/snapshots/s", plan=plan)
        job = await trainer.submit("retrain-1", episode, request_id())
        progress = await trainer.job(job)
        assert progress.outcome is Outcome.UNDER_WAY
        held = f"The training job is QUEUED and is held by {FREEZE}"
        assert progress.message == ("" if critical else held)
