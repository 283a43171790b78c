"""What jobs leave behind, and what they find damaged or away."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import pytest
from roundhouse.registry.v1 import model_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.core.spec import Candidate
from services.trainer.settings import TrainerSettings
from services.trainer.wiring import trainer
from tests.support.calls import TIMEOUT_S, request_id
from tests.support.eventually import eventually
from tests.support.trainer_api import (
    TrainerCaller,
    running_trainer,
    serving_registry,
    state_name,
)

pytestmark = pytest.mark.real
LONG = (Candidate("mlp", {"epochs": 60, "hidden_units": 8}),)
ENDLESS = (Candidate("mlp", {"epochs": 1000, "hidden_units": 8}),)


async def pause(caller: TrainerCaller, name: str) -> job_pb2.TrainingJob:
    await caller.jobs.PauseTrainingJob(
        job_service_pb2.PauseTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    return await caller.until(name, lambda job: state_name(job) == "PAUSED")


async def resume(caller: TrainerCaller, name: str) -> None:
    await caller.jobs.ResumeTrainingJob(
        job_service_pb2.ResumeTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in the trainer's blob store, oldest first."""
    blobs = (folder / "trainer" / "blobs").rglob("checkpoints/*/*/*")
    written: dict[Path, int] = {}
    for blob in blobs:
        with suppress(FileNotFoundError):
            written[blob] = blob.stat().st_mtime_ns
    return sorted(written, key=lambda blob: written[blob])


async def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_it_replays_the_same(
    tmp_path: Path,
) -> None:
    async with running_trainer(tmp_path) as caller:
        whole = await caller.until_over(await caller.submit("whole", candidates=LONG))
        name = await caller.submit("damaged", candidates=LONG)
        await caller.until_points(name, 5)
        await pause(caller, name)
        newest, older = checkpoints(tmp_path)[-1], checkpoints(tmp_path)[-2]
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
        older.unlink()
        await resume(caller, name)
        assert state_name(await caller.until_over(name)) == "SUCCEEDED"
        assert await caller.points(name) == await caller.points(whole.name)
        log = "\n".join(await caller.log(name))
        assert "is damaged" in log
        assert "is missing" in log


async def test_a_job_that_is_over_leaves_no_checkpoint(tmp_path: Path) -> None:
    async with running_trainer(tmp_path) as caller:
        name = await caller.submit("first", candidates=LONG)
        await caller.until_points(name, 3)
        assert checkpoints(tmp_path)
        await caller.until_over(name)
        await eventually(lambda: not checkpoints(tmp_path))


async def test_a_version_that_a_cancelled_job_began_is_given_up(tmp_path: Path) -> None:
    async with running_trainer(tmp_path) as caller:
        name = await caller.submit("first", candidates=LONG)
        await caller.until_points(name, 1)
        model = "projects/default/models/delays"
        begun = await caller.registry.begin(model, training_job=name)
        await caller.jobs.CancelTrainingJob(
            job_service_pb2.CancelTrainingJobRequest(name=name, request_id=request_id()),
            timeout=TIMEOUT_S,
        )

        async def state() -> int:
            (version,) = await caller.versions()
            assert version.name == begun
            return int(version.state)

        reached = model_pb2.ModelVersion.STATE_UPLOADING
        while reached == model_pb2.ModelVersion.STATE_UPLOADING:
            reached = await state()
        assert reached == model_pb2.ModelVersion.STATE_REJECTED


async def test_a_registry_that_stays_away_fails_the_job_after_its_attempts(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(AsyncExitStack())
        address, registry_caller = await up.enter_async_context(serving_registry(tmp_path))
        settings = TrainerSettings(
            listen="127.0.0.1:0",
            metrics_listen="127.0.0.1:0",
            data_dir=tmp_path / "trainer",
            registry_address=address,
            registry_patience_s=0.2,
            checkpoint_interval_s=0.0,
            drain_timeout_s=1.0,
        )
        server = await stack.enter_async_context(trainer(settings))
        server.set_serving()
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        )
        caller = TrainerCaller(channel, registry_caller)
        await caller.prepare()
        name = await caller.submit("first", candidates=ENDLESS, max_attempts=2)
        await caller.until_points(name, 1)
        await pause(caller, name)
        await up.aclose()
        await resume(caller, name)
        job = await caller.until_over(name)
    assert state_name(job) == "FAILED"
    assert job.error.error_class == job_pb2.JobError.ERROR_CLASS_DEPENDENCY_UNAVAILABLE
    assert [each.state for each in job.attempts[1:]] == [job_pb2.Attempt.STATE_FAILED] * 2
