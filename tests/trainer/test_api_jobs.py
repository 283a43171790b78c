"""The life of jobs: the JobService on a real port, with a real registry and real workers."""

from __future__ import annotations

import os
import platform

import grpc
import pytest
from roundhouse.trainer.v1 import job_pb2, job_service_pb2, worker_service_pb2

from services.trainer.core.jobs import RUN_SERIES, WORKERS
from services.trainer.core.spec import Candidate, Feature, FeatureKind
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_process import workers_of

pytestmark = pytest.mark.real
LONG = (Candidate("mlp", {"epochs": 60, "hidden_units": 8}),)


async def test_one_request_id_gives_one_job_and_one_answer(caller: TrainerCaller) -> None:
    request = caller.request("first")
    first = await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S) == first
    request.training_job_id = "second"
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )
    with refused() as refusal:
        await caller.submit("first")
    assert (refusal.reason, refusal.metadata["name"]) == ("JOB_EXISTS", first.name)


async def test_every_fault_of_a_spec_is_named_at_once(caller: TrainerCaller) -> None:
    request = caller.request(
        "first",
        candidates=(Candidate("oracle", {}), Candidate("mlp", {"epochs": 0})),
        features=(Feature("late", FeatureKind.NUMERIC), Feature("speed", FeatureKind.NUMERIC)),
        slices=("airport",),
        metric="accuracy",
    )
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC")
    spec = "training_job.spec."
    assert set(refusal.fields()) == {
        f"{spec}features[0].name",
        f"{spec}features[1].name",
        f"{spec}candidates[0].algorithm",
        f'{spec}candidates[1].parameters["epochs"]',
        f"{spec}metric",
        f"{spec}slice_columns[0]",
    }


async def test_output_only_fields_are_refused(caller: TrainerCaller) -> None:
    request = caller.request("first")
    request.training_job.model_version = "x"
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert refusal.fields() == ["training_job.model_version"]


async def test_validate_only_submits_nothing(caller: TrainerCaller) -> None:
    request = caller.request("first")
    request.validate_only = True
    await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    with refused() as refusal:
        await caller.get(f"{PROJECT}/trainingJobs/first")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


async def test_a_watcher_sees_every_stage_and_every_point_until_the_end(
    caller: TrainerCaller,
) -> None:
    name = await caller.submit("first", "mlp")
    states: list[str] = []
    points: list[tuple[str, str, int, float]] = []
    progress: list[float] = []
    async for item in caller.jobs.WatchTrainingJob(
        job_service_pb2.WatchTrainingJobRequest(name=name)
    ):
        if not states or states[-1] != state_name(item.training_job):
            states.append(state_name(item.training_job))
        points += [
            (each.trial, each.series, each.step, each.value)
            for each in item.points
            if each.series not in RUN_SERIES
        ]
        progress.append(item.training_job.progress)
    assert states[-1] == "SUCCEEDED"
    assert sorted(points) == sorted(await caller.points(name))
    assert progress == sorted(progress)
    assert {series for _, series, _, _ in points} == {
        "gradient_norm",
        "learning_rate",
        "train_loss",
        "validation_auc",
        "validation_log_loss",
    }
    for series in RUN_SERIES - {WORKERS}:
        steps = [step for _, _, step, value in await caller.points(name, series) if value > 0]
        assert steps.count(1) == 2, f"{series} is not of the trial and of its retraining"


async def test_a_paused_job_goes_on_from_its_checkpoint_and_ends_the_same(
    caller: TrainerCaller,
) -> None:
    expected = await caller.until_over(await caller.submit("whole", candidates=LONG))
    name = await caller.submit("paused", candidates=LONG)
    await caller.until_points(name, 5)
    await caller.jobs.PauseTrainingJob(
        job_service_pb2.PauseTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    paused = await caller.until(name, lambda job: state_name(job) == "PAUSED")
    assert [each.state for each in paused.attempts] == [job_pb2.Attempt.STATE_STOPPED]
    done = len(await caller.points(name, "train_loss"))
    assert 5 <= done < 60
    await caller.jobs.ResumeTrainingJob(
        job_service_pb2.ResumeTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert state_name(await caller.until_over(name)) == "SUCCEEDED"
    assert await caller.points(name) == await caller.points(expected.name)
    assert any("goes on after step" in line for line in await caller.log(name))


async def test_a_cancelled_job_ends_at_once_and_leaves_no_version(caller: TrainerCaller) -> None:
    name = await caller.submit("first", candidates=LONG)
    await caller.until_points(name, 2)
    cancelled = await caller.jobs.CancelTrainingJob(
        job_service_pb2.CancelTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert state_name(cancelled) == "CANCELLED"
    with refused() as refusal:
        await caller.jobs.ResumeTrainingJob(
            job_service_pb2.ResumeTrainingJobRequest(name=name, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    assert state_name(await caller.until_over(await caller.submit("next"))) == "SUCCEEDED"
    assert [version.training_job for version in await caller.versions()] == [
        f"{PROJECT}/trainingJobs/next"
    ]


async def test_a_deleted_job_is_gone_but_its_version_stays(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    await caller.jobs.DeleteTrainingJob(
        job_service_pb2.DeleteTrainingJobRequest(name=job.name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    listed = await caller.jobs.ListTrainingJobs(
        job_service_pb2.ListTrainingJobsRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    assert list(listed.training_jobs) == []
    assert len(await caller.versions()) == 1


async def test_data_that_cannot_be_trained_on_fails_the_job_without_a_retry(
    caller: TrainerCaller,
) -> None:
    one_label = b"event_time,distance,late\n" + b"".join(
        b"2013-01-%02dT00:00:00Z,%d.5,0\n" % (day, day) for day in range(1, 29)
    )
    snapshot = await caller.registry.sealed_snapshot("calm", one_label)
    name = await caller.submit(
        "first",
        snapshot=snapshot,
        features=(Feature("distance", FeatureKind.NUMERIC),),
        slices=(),
    )
    job = await caller.until_over(name)
    assert (state_name(job), job.error.error_class) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_DATA_FAULT,
    )
    assert len(job.attempts) == 1


async def test_a_stranger_with_an_old_fence_is_superseded(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    with refused() as refusal:
        await caller.workers.ReportStage(
            worker_service_pb2.ReportStageRequest(
                claim=worker_service_pb2.Claim(job=job.name, fence=1),
                stage=job_pb2.TrainingJob.STATE_RUNNING,
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ATTEMPT_SUPERSEDED")


async def test_a_job_of_higher_priority_takes_the_place_of_a_lower_one_and_gives_it_back(
    caller: TrainerCaller,
) -> None:
    low = await caller.submit("low", candidates=LONG)
    await caller.until_points(low, 3)
    request = caller.request("high", "decision_tree")
    request.training_job.priority = 50
    high = (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name
    assert state_name(await caller.until_over(high)) == "SUCCEEDED"
    job = await caller.until_over(low)
    assert state_name(job) == "SUCCEEDED", job.error
    stopped, finished = job.attempts
    assert {stopped.node, finished.node} == {platform.node()}
    assert stopped.state == job_pb2.Attempt.STATE_STOPPED
    assert stopped.error.error_class == job_pb2.JobError.ERROR_CLASS_PREEMPTED
    assert stopped.error.remedy
    assert finished.start_time.ToDatetime() > stopped.end_time.ToDatetime()


async def test_a_worker_whose_machine_is_taken_away_stops_at_a_checkpoint(
    caller: TrainerCaller,
) -> None:
    name = await caller.submit("spot", candidates=LONG, max_attempts=1)
    await caller.until_points(name, 3)
    for worker in workers_of(os.getpid()):
        worker.terminate()
    job = await caller.until_over(name)
    assert state_name(job) == "SUCCEEDED", job.error
    assert [each.error.error_class for each in job.attempts] == [
        job_pb2.JobError.ERROR_CLASS_PREEMPTED,
        job_pb2.JobError.ERROR_CLASS_UNSPECIFIED,
    ]
    assert any("goes on after step" in line for line in await caller.log(name))
