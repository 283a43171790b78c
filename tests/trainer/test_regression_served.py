"""Quantities all the way: a real job, gates, an approval, and the inference service's answers."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from roundhouse.registry.v1 import evaluation_service_pb2, model_pb2
from roundhouse.trainer.v1 import job_service_pb2
from tritonclient.grpc import service_pb2 as oip

from services.trainer.core.gains import MinimumGain
from services.trainer.core.spec import Candidate
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.inference_api import InferenceCaller
from tests.support.quantity_values import diabetes_rows, diabetes_spec
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.unobserved import unobserved_endpoint
from tests.trainer.test_classes_served import artifact, trained

pytestmark = pytest.mark.real
Rule = model_pb2.GateRule
RULES = [
    Rule(metric="rmse", comparison=Rule.COMPARISON_AT_MOST, value=65),
    Rule(metric="r2", comparison=Rule.COMPARISON_AT_LEAST, value=0.2),
    Rule(
        metric="rmse",
        comparison=Rule.COMPARISON_AT_MOST,
        value=75,
        slices=Rule.SliceScope(column="sex", reduction=Rule.SliceScope.REDUCTION_WORST),
    ),
]


async def told(inference: InferenceCaller, features: pa.Table) -> np.ndarray:
    """float32 [rows]: the endpoint's predictions."""
    request = oip.ModelInferRequest(model_name="progress")
    for name in features.column_names:
        values = features[name].to_pylist()
        if name == "sex":
            tensor = request.inputs.add(name=name, datatype="BYTES", shape=(len(values), 1))
            tensor.contents.bytes_contents.extend(each.encode() for each in values)
        else:
            tensor = request.inputs.add(name=name, datatype="FP32", shape=(len(values), 1))
            tensor.contents.fp32_contents.extend(values)
    answer = await inference.oip.ModelInfer(request, timeout=TIMEOUT_S)
    (output,) = answer.outputs
    assert (output.name, list(output.shape)) == ("prediction", [features.num_rows, 1])
    return np.frombuffer(answer.raw_output_contents[0], "<f4")


async def test_the_progress_of_patients_is_trained_gated_approved_and_told_by_an_endpoint(
    caller: TrainerCaller, tmp_path: Path
) -> None:
    model = await caller.registry.create_model(
        "progress", promotion_policy=model_pb2.PromotionPolicy(rules=RULES)
    )
    rows = diabetes_rows()
    asked = diabetes_spec(model=model, minimum_gain=MinimumGain(rmse=0.1, r2=0.2))
    job = await trained(caller, asked, rows)
    assert state_name(job) == "SUCCEEDED", job.error
    version = job.model_version
    evaluation = await caller.registry.evaluations.GetEvaluation(
        evaluation_service_pb2.GetEvaluationRequest(name=job.evaluation), timeout=TIMEOUT_S
    )
    errors = {"rmse", "mae", "median_absolute_error", "r2"}
    assert errors <= evaluation.metrics.keys()
    assert "positive_rate" not in evaluation.metrics
    assert evaluation.standard_errors.keys() == errors
    written = json.loads(await artifact(caller, version, "evaluation.json"))
    assert written["beats_baseline"]
    assert written["scores"]["rmse"] < 0.85 * written["baseline"]["rmse"]
    assert written["parity"]["largest_difference"] <= 1e-5
    assert written["validation_gains"]["rmse"]["low"] > 0.1
    card = (await artifact(caller, version, "card.md")).decode()
    assert "| part | rows | RMSE | MAE | median absolute error | R² |" in card
    assert "Probabilities" not in card
    data = json.loads(await artifact(caller, version, "data.json"))
    assert data["balance"][0]["deviation"] > 0
    profile = json.loads(await artifact(caller, version, "profile.json"))
    assert "reliability" not in profile

    parts = pq.read_table(pa.BufferReader(await artifact(caller, version, "split.parquet")))
    test = np.asarray(parts["row"])[np.asarray(parts["part"].to_pylist()) == "test"]
    features = rows.take(test).drop_columns(["seen", "progression"])
    async with unobserved_endpoint(caller, job, "progress", tmp_path / "inference") as inference:
        served = await told(inference, features)
    truth = np.asarray(rows["progression"])[test]
    rmse = float(np.sqrt(np.mean((served - truth) ** 2)))
    assert rmse == pytest.approx(evaluation.metrics["rmse"], rel=1e-5)
    session = onnxruntime.InferenceSession(await artifact(caller, version, "model.onnx"))
    feeds = {
        each: np.array(
            features[each].to_pylist(), dtype=object if each == "sex" else np.float32
        ).reshape(-1, 1)
        for each in features.column_names
    }
    (native,) = session.run(["prediction"], feeds)
    assert np.abs(served - native[:, 0]).max() <= 1e-4

    request = job_service_pb2.EvaluateVersionRequest(
        version=version, training_job=job.name, split="validation", request_id=request_id()
    )
    again = await caller.jobs.EvaluateVersion(request, timeout=TIMEOUT_S)
    assert set(again.metrics) >= errors


async def test_what_is_for_classes_is_refused_by_field(caller: TrainerCaller) -> None:
    candidates = (Candidate("logistic_regression", {}),)
    with refused() as refusal:
        await trained(caller, diabetes_spec(candidates=candidates, metric="auc"), diabetes_rows())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC")
    assert sorted(refusal.fields()) == [
        "training_job.spec.candidates[0].algorithm",
        "training_job.spec.metric",
    ]
