"""What a job could go on from, as the JobService lists it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from roundhouse.trainer.v1 import job_service_pb2, worker_service_pb2

from services.trainer.core.spec import Candidate
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name

pytestmark = pytest.mark.real
LONG = (Candidate("mlp", {"epochs": 200, "hidden_units": 8}),)


async def listed(caller: TrainerCaller, job: str) -> list[worker_service_pb2.Checkpoint]:
    """Every checkpoint of a job, one a page."""
    request = job_service_pb2.ListCheckpointsRequest(parent=job, page_size=1)
    found: list[worker_service_pb2.Checkpoint] = []
    while True:
        page = await caller.jobs.ListCheckpoints(request, timeout=TIMEOUT_S)
        assert len(page.checkpoints) <= 1
        found += page.checkpoints
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_checkpoints_of_a_paused_job_are_listed_until_it_is_over(
    caller: TrainerCaller,
) -> None:
    name = await caller.submit("first", candidates=LONG)
    await caller.until_points(name, 5)
    await caller.jobs.PauseTrainingJob(
        job_service_pb2.PauseTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    await caller.until(name, lambda job: state_name(job) == "PAUSED")
    found = await listed(caller, name)
    assert len(found) >= 3
    assert [each.step for each in found] == sorted({each.step for each in found})
    for each in found:
        assert (each.trial, each.HasField("loss")) == ("mlp-1", True)
        assert each.digest.startswith("sha256:")
        assert each.size_bytes > 0
    await caller.jobs.CancelTrainingJob(
        job_service_pb2.CancelTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    async with asyncio.timeout(60):
        while await listed(caller, name):
            await asyncio.sleep(0.05)


async def test_a_job_that_is_not_there_has_no_list(caller: TrainerCaller) -> None:
    with refused() as refusal:
        await listed(caller, f"{PROJECT}/trainingJobs/none")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
