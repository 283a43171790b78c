"""The JobService on a real port, with a real registry and real worker processes."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import onnxruntime
import pytest
from roundhouse.registry.v1 import (
    dataset_service_pb2,
    evaluation_pb2,
    evaluation_service_pb2,
    model_pb2,
    model_service_pb2,
    retention_pb2,
    retention_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2, worker_service_pb2

from services.common.profiles import Profile
from services.trainer.core.spec import Candidate, Feature, FeatureKind
from tests.support.registry_api import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_values import arrow_rows

pytestmark = pytest.mark.real
ALL = ("logistic_regression", "decision_tree", "random_forest", "lightgbm", "mlp")
LONG = (Candidate("mlp", {"epochs": 60, "hidden_units": 8}),)


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def test_five_candidates_become_one_version_with_its_evidence(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first", *ALL))
    assert state_name(job) == "SUCCEEDED", job.error
    (version,) = await caller.versions()
    assert (version.name, version.state) == (
        job.model_version,
        model_pb2.ModelVersion.STATE_READY,
    )
    assert version.training_job == job.name
    assert [file.path for file in version.files] == [
        "card.md",
        "evaluation.json",
        "model.onnx",
        "profile.json",
        "signature.json",
        "training.json",
    ]
    evaluation = await caller.registry.evaluations.GetEvaluation(
        evaluation_service_pb2.GetEvaluationRequest(name=job.evaluation), timeout=TIMEOUT_S
    )
    assert (evaluation.split, evaluation.rows, evaluation.evaluator) == ("test", 180, job.name)
    assert evaluation.metrics["auc"] > 0.6
    trials = (
        await caller.jobs.ListTrials(
            job_service_pb2.ListTrialsRequest(parent=job.name), timeout=TIMEOUT_S
        )
    ).trials
    best = max(trials, key=lambda trial: trial.metrics["auc"])
    assert (job.best_trial, [trial.progress for trial in trials]) == (best.name, [1.0] * 5)

    training = json.loads(await artifact(caller, version.name, "training.json"))
    assert training["winner"]["algorithm"] == best.algorithm
    assert training["split"]["train_rows"] == 840
    assert training["environment"]["packages"].keys() >= {"torch", "scikit-learn", "lightgbm"}
    profile = Profile.from_json(json.loads(await artifact(caller, version.name, "profile.json")))
    assert (profile.n, set(profile.features)) == (1020, {"distance", "wind", "origin", "carrier"})
    written = json.loads(await artifact(caller, version.name, "evaluation.json"))
    assert written["scores"]["auc"] == evaluation.metrics["auc"]
    assert written["beats_baseline"]
    assert "# delays" in (await artifact(caller, version.name, "card.md")).decode()


async def test_the_graph_takes_raw_features_under_their_own_names(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    signature = json.loads(await artifact(caller, job.model_version, "signature.json"))
    assert [(each["name"], each["datatype"]) for each in signature["inputs"]] == [
        ("distance", "FP32"),
        ("wind", "FP32"),
        ("origin", "BYTES"),
        ("carrier", "BYTES"),
    ]
    assert signature["inputs"][2]["categories"] == ["EWR", "JFK", "LGA"]
    session = onnxruntime.InferenceSession(await artifact(caller, job.model_version, "model.onnx"))
    rows = arrow_rows(3).to_pylist()
    feed = {
        name: np.array([[row[name] or ""] for row in rows], dtype=object)
        for name in ("origin", "carrier")
    }
    feed |= {
        name: np.array([[row[name]] for row in rows], dtype=np.float32)
        for name in ("distance", "wind")
    }
    label, probabilities = session.run(["label", "probabilities"], feed)
    assert (label.shape, label.dtype, probabilities.shape) == ((3,), np.int64, (3, 2))
    assert np.allclose(probabilities.sum(axis=1), 1)


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


async def test_a_snapshot_that_is_not_sealed_or_not_there_is_a_fault(caller: TrainerCaller) -> None:
    dataset = f"{PROJECT}/datasets/flights"
    unsealed = await caller.registry.create_snapshot(dataset, "open")
    for snapshot in (unsealed, f"{dataset}/snapshots/none"):
        with refused() as refusal:
            await caller.submit("first", snapshot=snapshot)
        assert refusal.fields() == ["training_job.spec.snapshot"]


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
        points += [(each.trial, each.series, each.step, each.value) for each in item.points]
        progress.append(item.training_job.progress)
    assert states[-1] == "SUCCEEDED"
    assert sorted(points) == sorted(await caller.points(name))
    assert progress == sorted(progress)
    assert {series for _, series, _, _ in points} == {
        "train_loss",
        "validation_auc",
        "validation_log_loss",
    }


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


async def test_a_version_is_scored_as_its_job_scored_it_and_once(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    request = job_service_pb2.EvaluateVersionRequest(
        version=job.model_version,
        training_job=job.name,
        split="test",
        purpose=job_service_pb2.EvaluateVersionRequest.PURPOSE_BASELINE,
        request_id=request_id(),
    )
    first = await caller.jobs.EvaluateVersion(request, timeout=TIMEOUT_S)
    assert await caller.jobs.EvaluateVersion(request, timeout=TIMEOUT_S) == first
    by_name = await evaluations_of(caller, job.model_version)
    assert set(by_name) > {job.evaluation, first.evaluation}
    mine, theirs = by_name[first.evaluation], by_name[job.evaluation]
    assert mine.split_digest == theirs.split_digest
    assert mine.metrics["auc"] == pytest.approx(theirs.metrics["auc"])
    assert mine.standard_errors == pytest.approx(theirs.standard_errors)
    for scored in (mine, theirs):
        assert 0 < scored.metrics["latency.p50_ms"] <= scored.metrics["latency.p99_ms"]


async def test_a_job_says_what_it_selected_and_what_it_tested_on(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    purposes = {
        each.split: evaluation_pb2.Evaluation.Purpose.Name(each.purpose)
        for each in (await evaluations_of(caller, job.model_version)).values()
    }
    assert purposes == {"validation": "PURPOSE_SELECTION", "test": "PURPOSE_TEST"}
    ledger = await caller.registry.evaluations.ListTestSetTouches(
        evaluation_service_pb2.ListTestSetTouchesRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    assert {touch.split for touch in ledger.touches} == {"validation", "test"}
    assert all(touch.lineage == [job.model_version, job.name] for touch in ledger.touches)


async def test_a_job_cannot_test_its_version_twice(caller: TrainerCaller) -> None:
    job = await caller.until_over(await caller.submit("first"))
    with refused() as refusal:
        await caller.jobs.EvaluateVersion(
            job_service_pb2.EvaluateVersionRequest(
                version=job.model_version,
                training_job=job.name,
                split="test",
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "EVALUATION_FAILED",
    )


async def test_a_successor_is_not_tested_on_the_rows_of_its_parents_test(
    caller: TrainerCaller,
) -> None:
    first = await caller.until_over(await caller.submit("first"))
    second = await caller.until_over(
        await caller.submit("second", parent_version=first.model_version)
    )
    assert (state_name(second), second.error.error_class) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_DATA_FAULT,
    )
    assert first.evaluation in second.error.message


async def evaluations_of(
    caller: TrainerCaller, version: str
) -> dict[str, evaluation_pb2.Evaluation]:
    """The version's evaluations by name."""
    recorded = await caller.registry.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(parent=version), timeout=TIMEOUT_S
    )
    return {each.name: each for each in recorded.evaluations}


async def test_a_version_that_is_not_there_cannot_be_scored(caller: TrainerCaller) -> None:
    job = await caller.submit("first")
    with refused() as refusal:
        await caller.jobs.EvaluateVersion(
            job_service_pb2.EvaluateVersionRequest(
                version=f"{PROJECT}/models/delays/versions/9",
                training_job=job,
                split="test",
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "EVALUATION_FAILED",
    )


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


async def pins(caller: TrainerCaller) -> list[retention_pb2.Pin]:
    listed = await caller.registry.retention.ListPins(
        retention_service_pb2.ListPinsRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    return list(listed.pins)


async def test_a_job_that_is_not_over_keeps_its_snapshot(caller: TrainerCaller) -> None:
    snapshot = f"{PROJECT}/datasets/flights/snapshots/january"
    name = await caller.submit("pinning", candidates=LONG)
    assert [pin.target for pin in await pins(caller)] == [snapshot]
    with refused() as refusal:
        await caller.registry.datasets.DeleteSnapshot(
            dataset_service_pb2.DeleteSnapshotRequest(name=snapshot, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "RETAINED"
    # The trainer has seen for itself what the job relies on once it has set the pin anew.
    async with asyncio.timeout(60):
        while any(pin.create_time == pin.update_time for pin in await pins(caller)):
            await asyncio.sleep(0.05)
    await caller.jobs.CancelTrainingJob(
        job_service_pb2.CancelTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    async with asyncio.timeout(60):
        while await pins(caller):
            await asyncio.sleep(0.05)


async def test_nothing_is_trained_on_a_snapshot_under_a_privacy_hold(
    caller: TrainerCaller,
) -> None:
    snapshot = f"{PROJECT}/datasets/flights/snapshots/january"
    hold = await caller.registry.retention.PlaceHold(
        retention_service_pb2.PlaceHoldRequest(
            parent=PROJECT,
            hold=retention_pb2.Hold(
                target=snapshot,
                kind=retention_pb2.Hold.KIND_PRIVACY,
                placed_by="ann",
                reason="request 7",
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await caller.submit("held", "decision_tree")
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SNAPSHOT_HELD",
    )
    assert refusal.metadata == {"snapshot": snapshot, "hold": hold.name}
