"""What jobs make and how it is scored, beside a real registry."""

from __future__ import annotations

import json

import grpc
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    model_pb2,
    model_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.common.profiles import Profile
from services.trainer.core.gains import MinimumGain
from services.trainer.core.spec import Feature, FeatureKind
from services.trainer.core.splits import SplitMethod
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_values import arrow_rows

pytestmark = pytest.mark.real
ALL = ("logistic_regression", "decision_tree", "random_forest", "lightgbm", "mlp")


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
        "data.json",
        "evaluation.json",
        "model.onnx",
        "profile.json",
        "signature.json",
        "split.parquet",
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
    by_origin = profile.slices["origin"]
    assert set(by_origin.by.categories) == {"EWR", "JFK", "LGA"}
    assert {name: counts.sum() for name, counts in by_origin.columns.items()} == dict.fromkeys(
        profile.features, 1020
    )
    assert by_origin.score.sum() == 180
    assert profile.held_out is not None
    assert profile.held_out.rows.names == profile.sample.names
    assert profile.held_out.rows.codes.shape == (180, 4)
    assert np.array_equal(
        profile.score.sketch.bins.counts(profile.held_out.scores), profile.score.sketch.counts
    )
    written = json.loads(await artifact(caller, version.name, "evaluation.json"))
    assert written["scores"]["auc"] == evaluation.metrics["auc"]
    assert written["beats_baseline"]
    data = json.loads(await artifact(caller, version.name, "data.json"))
    assert (data["rows"], len(data["columns"])) == (1200, 4)
    assert {finding["kind"] for finding in data["findings"]} <= {"labels"}
    assert "# delays" in (await artifact(caller, version.name, "card.md")).decode()


async def test_a_version_carries_the_part_of_each_row_of_its_grouped_split(
    caller: TrainerCaller,
) -> None:
    job = await caller.until_over(
        await caller.submit("first", split_method=SplitMethod.GROUPED, group_column="origin")
    )
    assert state_name(job) == "SUCCEEDED", job.error
    training = json.loads(await artifact(caller, job.model_version, "training.json"))
    data = await artifact(caller, job.model_version, training["split"]["rows"])
    rows = pq.read_table(pa.BufferReader(data))
    assert sorted(rows["row"].to_pylist()) == list(range(1200))
    origin = arrow_rows(1200)["origin"].take(rows["row"]).to_pylist()
    parts = set(zip(rows["part"].to_pylist(), origin, strict=True))
    assert sorted(part for part, _ in parts) == ["test", "train", "validation"]
    assert {value for _, value in parts} == {"EWR", "JFK", "LGA"}


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


async def test_data_that_breaks_a_promise_fails_the_job_with_every_fault(
    caller: TrainerCaller,
) -> None:
    features = (
        Feature("distance", FeatureKind.NUMERIC, minimum=900.0),
        Feature("origin", FeatureKind.CATEGORICAL, values=("EWR",)),
    )
    job = await caller.until_over(await caller.submit("first", features=features))
    assert (state_name(job), job.error.error_class, len(job.attempts)) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_DATA_FAULT,
        1,
    )
    assert "distance is outside of 900 to inf" in job.error.message
    assert "origin has other values than promised" in job.error.message
    assert any("data, range: distance" in line for line in await caller.log(job.name))
    assert await caller.versions() == []


async def test_a_winner_that_gains_too_little_fails_the_job_with_its_numbers(
    caller: TrainerCaller,
) -> None:
    asked = MinimumGain(auc=0.45)
    job = await caller.until_over(await caller.submit("first", minimum_gain=asked))
    assert (state_name(job), job.error.error_class, len(job.attempts)) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_NOT_BETTER,
        1,
    )
    (trial,) = (
        await caller.jobs.ListTrials(
            job_service_pb2.ListTrialsRequest(parent=job.name), timeout=TIMEOUT_S
        )
    ).trials
    gain = trial.gains["auc"]
    assert 0 < gain.low < gain.value < gain.high
    assert gain.value == pytest.approx(trial.metrics["auc"] - 0.5)
    assert f"auc {gain.value:+.4f} (95 %: {gain.low:+.4f} to {gain.high:+.4f}" in job.error.message
    assert await caller.versions() == []


async def evaluations_of(
    caller: TrainerCaller, version: str
) -> dict[str, evaluation_pb2.Evaluation]:
    """The version's evaluations by name."""
    recorded = await caller.registry.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(parent=version), timeout=TIMEOUT_S
    )
    return {each.name: each for each in recorded.evaluations}


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
    assert [version.name for version in await caller.versions()] == [first.model_version]


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
