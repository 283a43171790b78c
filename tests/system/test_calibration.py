"""A model that is too sure of itself, calibrated by its job and decided on by policies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from roundhouse.client import Addresses, AsyncClient
from roundhouse.inference.v1 import (
    batch_pb2,
    batch_service_pb2,
    policy_pb2,
    policy_service_pb2,
)
from roundhouse.registry.v1 import evaluation_pb2, evaluation_service_pb2, model_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.common.profiles import Profile
from services.common.sketches import Sketch
from services.trainer.adapters.export.calibrated import uncalibrated_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.spec import Candidate
from services.trainer.core.splits import SplitShares, split_by_time
from tests.support.eventually import eventually
from tests.support.fake_monitor import FakeMonitor, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    PROJECT,
    TIMEOUT_S,
    InferenceCaller,
    Registered,
    request_id,
    running_inference,
)
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.support.trainer_values import table

pytestmark = pytest.mark.real
BOASTER = Candidate(
    "lightgbm",
    {"rounds": 20, "learning_rate": 1, "leaves": 64, "min_leaf_rows": 1, "l2": 0},
)


async def trained(caller: TrainerCaller) -> job_pb2.TrainingJob:
    name = await caller.submit(
        "first", candidates=(BOASTER,), calibration=CalibrationMethod.SIGMOID
    )
    job = await caller.until_over(name)
    assert state_name(job) == "SUCCEEDED", job.error
    return job


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def evaluation(caller: TrainerCaller, name: str) -> evaluation_pb2.Evaluation:
    return await caller.registry.evaluations.GetEvaluation(
        evaluation_service_pb2.GetEvaluationRequest(name=name), timeout=TIMEOUT_S
    )


async def test_a_calibrated_version_promises_less_and_ranks_the_same(tmp_path: Path) -> None:
    async with running_trainer(tmp_path) as caller:
        job = await trained(caller)
        found = await evaluation(caller, job.evaluation)
        again = await caller.jobs.EvaluateVersion(
            job_service_pb2.EvaluateVersionRequest(
                version=job.model_version,
                training_job=job.name,
                split="test",
                purpose=job_service_pb2.EvaluateVersionRequest.PURPOSE_BASELINE,
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
        scored_again = await evaluation(caller, again.evaluation)
        files = {
            path: await artifact(caller, job.model_version, path)
            for path in (
                "training.json",
                "evaluation.json",
                "profile.json",
                "card.md",
                "model.onnx",
            )
        }
        log = await caller.log(job.name)
    before, after = found.uncalibrated.metrics, found.metrics
    assert before["calibration_error"] > 0.15 > after["calibration_error"]
    assert after["brier"] < before["brier"]
    assert after["log_loss"] < before["log_loss"]
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-6)
    for bins, metrics in ((found.reliability, after), (found.uncalibrated.reliability, before)):
        gaps = sum(each.rows * abs(each.mean_score - each.frequency) for each in bins)
        assert sum(each.rows for each in bins) == found.rows == 180
        assert gaps / 180 == pytest.approx(metrics["calibration_error"], abs=1e-6)
    assert scored_again.uncalibrated == found.uncalibrated

    training = json.loads(files["training.json"])
    assert training["calibration"]["method"] == "CALIBRATION_SIGMOID"
    assert training["calibration"]["rows"] == training["split"]["validation_rows"] == 180
    assert 0 < training["calibration"]["map"]["slope"] < 0.7
    written = json.loads(files["evaluation.json"])
    assert written["uncalibrated"]["brier"] == before["brier"]
    assert b"test, before calibration" in files["card.md"]
    assert "CALIBRATION_SIGMOID learned from 180 rows" in log
    # The baseline that the monitor holds predictions against is of calibrated ones, too.
    score = Profile.from_json(json.loads(files["profile.json"])).score
    rows = table()
    test = rows.take(split_by_time(rows.event_time_us, SplitShares()).test)
    probability = GraphModel(files["model.onnx"], 1).predicted(test)
    assert score.sketch == Sketch.of(score.sketch.bins, probability)
    bare = uncalibrated_graph(files["model.onnx"])
    assert bare is not None
    assert score.sketch != Sketch.of(score.sketch.bins, GraphModel(bare, 1).predicted(test))


async def approved(caller: TrainerCaller, job: job_pb2.TrainingJob) -> Registered:
    """The version that a job made, allowed to serve by its own evaluation."""
    gate = await caller.registry.gate(job.evaluation)
    asked = await caller.registry.ask(job.model_version, gate.name)
    await caller.registry.decide(asked.name)
    return Registered(job.model_version, asked.name)


async def point(inference: InferenceCaller, rebook_from: float) -> str:
    """The name of a new policy version that the endpoint decides by now."""
    policy = policy_pb2.PolicyVersion(author="ada", purpose="trial")
    shares = ((0, 1 - rebook_from, "none"), (1, rebook_from, "rebook"))
    for label, threshold, action in shares:
        policy.thresholds.classes.add(label=label, threshold=threshold, action=action)
    made = await inference.policies.CreatePolicyVersion(
        policy_service_pb2.CreatePolicyVersionRequest(
            parent=f"{PROJECT}/policies/delays", policy_version=policy, request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    await inference.policies.PointEndpoint(
        policy_service_pb2.PointEndpointRequest(
            name=ENDPOINT,
            policy_version=made.name,
            actor="bob",
            purpose="trial",
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    return made.name


def only_part(folder: Path) -> np.ndarray:
    """The scores in the one part that is somewhere under `folder`."""
    (part,) = folder.rglob("part-*.parquet")
    return pq.read_table(part)["score"].to_numpy()


async def predicted_in_a_batch(
    inference: InferenceCaller, job: job_pb2.TrainingJob, folder: Path
) -> np.ndarray:
    """Score of each row of the snapshot that the version was made of."""
    created = await inference.batches.CreateBatchPredictionJob(
        batch_service_pb2.CreateBatchPredictionJobRequest(
            parent=PROJECT,
            batch_prediction_job_id="night",
            batch_prediction_job=batch_pb2.BatchPredictionJob(
                snapshot=job.spec.snapshot, model=job.model_version
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    watch = batch_service_pb2.WatchBatchPredictionJobRequest(name=created.name)
    seen = [
        each async for each in inference.batches.WatchBatchPredictionJob(watch, timeout=TIMEOUT_S)
    ]
    assert seen[-1].state == batch_pb2.BatchPredictionJob.STATE_SUCCEEDED, seen[-1].message
    return await asyncio.to_thread(only_part, folder)


async def test_policies_decide_on_calibrated_values_and_change_without_new_weights(
    tmp_path: Path,
) -> None:
    rows = table()
    inputs = {name: list(column) for name, column in rows.features.items()}
    async with running_trainer(tmp_path) as caller, fake_monitor() as monitor:
        job = await trained(caller)
        graph = await artifact(caller, job.model_version, "model.onnx")
        serving = running_inference(
            tmp_path / "inference", caller.registry_address, monitor.address
        )
        async with serving as inference:
            created = await inference.create_endpoint(await approved(caller, job))
            async with AsyncClient(Addresses(inference=inference.address)) as client:
                strict = await point(inference, 0.9)
                first = await client.predict("delays", inputs)
                eager = await point(inference, 0.4)
                second = await client.predict("delays", inputs)
            after = await inference.endpoint()
            versions = await caller.versions()
            batch = await predicted_in_a_batch(inference, job, tmp_path / "inference")
            await until_observed(monitor, 2 * len(rows))
    scores = GraphModel(graph, 1).predicted(rows)
    bare = uncalibrated_graph(graph)
    assert bare is not None
    boasted = GraphModel(bare, 1).predicted(rows)
    assert np.mean(boasted > 0.9) > np.mean(scores > 0.9)
    for answer, policy, share in ((first, strict, 0.9), (second, eager, 0.4)):
        assert answer.policy == policy
        assert answer.scores == pytest.approx(scores, abs=1e-6)
        rebooked = np.array([action == "rebook" for action in answer.actions])
        clear = np.abs(scores - share) > 1e-5
        assert np.array_equal(rebooked[clear], (scores >= share)[clear])
    assert batch == pytest.approx(scores, abs=1e-6)
    told = np.concatenate([each["score"].to_numpy() for each in monitor.batches.values()])
    assert np.sort(told) == pytest.approx(np.sort(np.tile(scores, 2)), abs=1e-6)
    assert [(each.version, each.digest) for each in after.variants] == [
        (each.version, each.digest) for each in created.variants
    ]
    assert [each.name for each in versions] == [job.model_version]


async def until_observed(monitor: FakeMonitor, count: int) -> None:
    """Wait until the monitor has so many rows."""
    async with asyncio.timeout(TIMEOUT_S):
        await eventually(lambda: sum(map(len, monitor.batches.values())) == count)
