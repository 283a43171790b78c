"""Digits all the way: a real job, gates, an approval, and the inference service's answers."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from google.protobuf.json_format import ParseDict
from roundhouse.registry.v1 import evaluation_service_pb2, model_pb2, model_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2
from tritonclient.grpc import service_pb2 as oip

from services.trainer.core.gains import MinimumGain
from services.trainer.core.spec import Candidate, JobSpec, spec_to_json
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.class_values import PIXELS, SIDE, class_rows, class_spec, digit_rows, digit_spec
from tests.support.inference_api import InferenceCaller
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.unobserved import unobserved_endpoint

pytestmark = pytest.mark.real
Comparison = model_pb2.GateRule
RULES = [
    Comparison(metric="balanced_accuracy", comparison=Comparison.COMPARISON_AT_LEAST, value=0.95),
    Comparison(metric="worst_recall", comparison=Comparison.COMPARISON_AT_LEAST, value=0.8),
    Comparison(metric="recall.8", comparison=Comparison.COMPARISON_AT_LEAST, value=0.8),
    Comparison(metric="log_loss", comparison=Comparison.COMPARISON_AT_MOST, value=0.3),
]


def csv_of(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(rows, sink)
    return bytes(sink.getvalue())


async def trained(caller: TrainerCaller, job: JobSpec, rows: pa.Table) -> job_pb2.TrainingJob:
    """The job on a snapshot of `rows`, once it is over."""
    snapshot = await caller.registry.sealed_snapshot("rows", csv_of(rows))
    document = spec_to_json(job) | {"snapshot": snapshot}
    request = job_service_pb2.CreateTrainingJobRequest(
        parent=PROJECT,
        training_job_id="classes",
        training_job=job_pb2.TrainingJob(spec=ParseDict(document, job_pb2.JobSpec())),
        request_id=request_id(),
    )
    return await caller.until_over(
        (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name, within_s=150
    )


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def told(inference: InferenceCaller, images: np.ndarray) -> np.ndarray:
    """float32 [rows, 10]: the endpoint's probabilities."""
    request = oip.ModelInferRequest(model_name="digits")
    for at, name in enumerate(PIXELS):
        request.inputs.add(name=name, datatype="FP32", shape=(len(images), 1))
        request.raw_input_contents.append(images[:, at].astype("<f4").tobytes())
    answer = await inference.oip.ModelInfer(request, timeout=TIMEOUT_S)
    place = [output.name for output in answer.outputs].index("probabilities")
    return np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(len(images), 10)


async def test_digits_are_trained_gated_approved_and_told_by_an_endpoint(
    caller: TrainerCaller, tmp_path: Path
) -> None:
    model = await caller.registry.create_model(
        "digits", promotion_policy=model_pb2.PromotionPolicy(rules=RULES)
    )
    shape = {"height": SIDE, "width": SIDE, "epochs": 12, "batch_rows": 32, "learning_rate": 0.002}
    rows = digit_rows()
    asked = digit_spec(
        model=model,
        candidates=(Candidate("cnn", shape),),
        minimum_gain=MinimumGain(balanced_accuracy=0.5),
    )
    job = await trained(caller, asked, rows)
    assert state_name(job) == "SUCCEEDED", job.error
    version = job.model_version
    evaluation = await caller.registry.evaluations.GetEvaluation(
        evaluation_service_pb2.GetEvaluationRequest(name=job.evaluation), timeout=TIMEOUT_S
    )
    assert evaluation.metrics["accuracy"] >= 0.95
    assert {f"recall.{digit}" for digit in range(10)} <= evaluation.metrics.keys()
    assert "positive_rate" not in evaluation.metrics
    signature = json.loads(await artifact(caller, version, "signature.json"))
    assert signature["outputs"][1]["classes"] == [str(digit) for digit in range(10)]
    written = json.loads(await artifact(caller, version, "evaluation.json"))
    assert np.sum(written["confusion"]) == evaluation.rows
    assert written["beats_baseline"]
    assert written["parity"]["largest_difference"] <= 1e-5
    assert "| class | rows | precision" in (await artifact(caller, version, "card.md")).decode()

    parts = pq.read_table(pa.BufferReader(await artifact(caller, version, "split.parquet")))
    test = np.asarray(parts["row"])[np.asarray(parts["part"].to_pylist()) == "test"]
    images = np.stack([np.asarray(rows[name])[test] for name in PIXELS], axis=1)
    async with unobserved_endpoint(caller, job, "digits", tmp_path / "inference") as inference:
        served = await told(inference, images)
    label = np.asarray(rows["digit"])[test]
    accuracy = float((served.argmax(axis=1) == label).mean())
    assert accuracy == pytest.approx(evaluation.metrics["accuracy"])
    session = onnxruntime.InferenceSession(await artifact(caller, version, "model.onnx"))
    feeds = {name: images[:, [at]].astype(np.float32) for at, name in enumerate(PIXELS)}
    (native,) = session.run(["probabilities"], feeds)
    assert np.abs(served - native).max() <= 1e-6


async def test_a_version_of_other_classes_cannot_be_scored_by_a_binary_job(
    caller: TrainerCaller,
) -> None:
    job = await trained(caller, class_spec("decision_tree"), class_rows())
    assert state_name(job) == "SUCCEEDED", job.error
    other = await caller.until_over(await caller.submit("first"))
    assert state_name(other) == "SUCCEEDED", other.error
    for version, judge in ((job.model_version, other), (other.model_version, job)):
        with refused() as refusal:
            await caller.jobs.EvaluateVersion(
                job_service_pb2.EvaluateVersionRequest(
                    version=version,
                    training_job=judge.name,
                    split="validation",
                    request_id=request_id(),
                ),
                timeout=TIMEOUT_S,
            )
        assert refusal.reason == "EVALUATION_FAILED"


async def test_a_network_over_images_is_refused_for_features_that_are_none(
    caller: TrainerCaller,
) -> None:
    with refused() as refusal:
        await caller.submit("first", "cnn")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC")
    assert refusal.fields() == [
        "training_job.spec.candidates[0].algorithm",
        "training_job.spec.candidates[0].parameters",
    ]
