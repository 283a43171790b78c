"""Workers and trainers killed in the middle of a job, and registries that go away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from roundhouse.registry.v1 import model_pb2

from services.common.rpc.client import connect
from services.trainer.adapters.worker.limits import NICENESS
from services.trainer.core.spec import Candidate
from tests.support.trainer_api import (
    TrainerCaller,
    running_trainer,
    serving_registry,
    state_name,
)
from tests.support.trainer_process import TrainerProcess, workers_of

pytestmark = pytest.mark.real
LONG = (Candidate("decision_tree", {}), Candidate("mlp", {"epochs": 60, "hidden_units": 8}))


def kill_workers() -> None:
    """Kill the workers of the trainer in this process; one may have ended by itself."""
    for worker in workers_of(os.getpid()):
        with suppress(psutil.NoSuchProcess):
            worker.kill()


async def one_ready_version(caller: TrainerCaller, *jobs: str) -> None:
    """Each job has made exactly one version, and none is left half uploaded."""
    versions = await caller.versions()
    assert sorted(version.training_job for version in versions) == sorted(jobs)
    assert {version.state for version in versions} == {model_pb2.ModelVersion.STATE_READY}


async def test_a_job_whose_worker_is_killed_again_and_again_ends_as_if_nothing_happened(
    tmp_path: Path,
) -> None:
    async with running_trainer(tmp_path) as caller:
        whole = await caller.until_over(await caller.submit("whole", candidates=LONG))
        name = await caller.submit("killed", candidates=LONG)
        for points in (8, 30):
            await caller.until_points(name, points)
            kill_workers()
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        assert len(job.attempts) == 3
        assert await caller.points(name) == await caller.points(whole.name)
        log = await caller.log(name)
        assert sum(line.startswith("decision-tree-1 ") for line in log) == 1
        await one_ready_version(caller, whole.name, name)


@pytest.mark.parametrize("stage", ["PREPARING", "EVALUATING", "REGISTERING"])
async def test_a_worker_killed_in_any_stage_makes_no_second_version(
    tmp_path: Path, stage: str
) -> None:
    async with running_trainer(tmp_path) as caller:
        name = await caller.submit("killed", "decision_tree", "random_forest")
        await caller.until(name, lambda job: state_name(job) in (stage, "SUCCEEDED"))
        kill_workers()
        assert state_name(await caller.until_over(name)) == "SUCCEEDED"
        await one_ready_version(caller, name)


async def test_a_job_that_kills_every_worker_fails_at_last(tmp_path: Path) -> None:
    async with running_trainer(tmp_path) as caller:
        name = await caller.submit("killed", candidates=LONG, max_attempts=2)
        while state_name(await caller.get(name)) != "FAILED":
            kill_workers()
            await asyncio.sleep(0.02)
        job = await caller.get(name)
        assert len(job.attempts) == 2
        assert job.error.retryable


@asynccontextmanager
async def killable(
    folder: Path, cpus: str = "", **settings: str
) -> AsyncIterator[tuple[TrainerProcess, TrainerCaller]]:
    """A trainer that can be killed, and a caller of it that survives that."""
    async with serving_registry(folder) as (address, registry_caller):
        chosen = {
            "registry_address": address,
            "lease_ttl_s": "3",
            "checkpoint_interval_s": "0",
            **settings,
        }
        trainer = await asyncio.to_thread(TrainerProcess, folder, chosen, cpus)
        try:
            async with connect(trainer.address) as channel:
                caller = TrainerCaller(channel, registry_caller)
                await caller.prepare()
                yield trainer, caller
        finally:
            await asyncio.to_thread(trainer.stop)


async def test_a_worker_ends_by_itself_when_its_trainer_stays_away(tmp_path: Path) -> None:
    async with killable(tmp_path) as (trainer, caller):
        name = await caller.submit("orphan", candidates=LONG)
        await caller.until_points(name, 5)
        (orphan,) = trainer.kill()
        assert await asyncio.to_thread(psutil.wait_procs, [orphan], 20) == ([orphan], [])
        trainer.restart()
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        await one_ready_version(caller, name)


async def test_training_yields_to_services_but_the_claim_of_the_worker_does_not(
    tmp_path: Path,
) -> None:
    async with killable(tmp_path) as (trainer, caller):
        name = await caller.submit("yielding", candidates=LONG)
        await caller.until_points(name, 2)
        (worker,) = workers_of(trainer.pid)
        own = psutil.Process(trainer.pid).nice()
        niceness = {}
        for thread in worker.threads():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                niceness[thread.id] = os.getpriority(os.PRIO_PROCESS, thread.id)
    assert niceness.pop(worker.pid) == own
    assert own + NICENESS in niceness.values()


async def test_a_job_survives_its_trainer_killed_twice(tmp_path: Path) -> None:
    async with killable(tmp_path) as (trainer, caller):
        name = await caller.submit("survivor", "decision_tree", "random_forest", max_attempts=9)
        for stage in ("RUNNING", "REGISTERING"):
            reached = (stage, "SUCCEEDED")
            await caller.until(name, lambda job, reached=reached: state_name(job) in reached)
            trainer.kill()
            trainer.restart()
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        await one_ready_version(caller, name)


async def test_a_stopped_trainer_leaves_a_queued_job_that_the_next_one_finishes(
    tmp_path: Path,
) -> None:
    async with killable(tmp_path) as (trainer, caller):
        name = await caller.submit("handed-over", candidates=LONG)
        await caller.until_points(name, 5)
        left = workers_of(trainer.pid)
        await asyncio.to_thread(trainer.stop)
        assert not any(worker.is_running() for worker in left)
        trainer.restart()
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        assert len(job.attempts) == 2
