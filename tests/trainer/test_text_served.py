"""Reviews all the way: MiniLM out of a package, a real job, and an endpoint that takes texts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from google.protobuf.json_format import ParseDict
from roundhouse.registry.v1 import evaluation_service_pb2, model_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2
from tritonclient.grpc import service_pb2 as oip
from tritonclient.utils import serialize_byte_tensor

from services.common import scoring
from services.trainer.adapters.learning.pretrained import open_encoder
from services.trainer.core.spec import Candidate, Feature, FeatureKind, spec_to_json
from tests.support.calls import PROJECT, TIMEOUT_S, request_id
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import InferenceCaller, Registered, running_inference
from tests.support.text_values import text_spec
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.support.trainer_values import EPOCH

pytestmark = pytest.mark.real
INSTALLATION = Path(__file__).resolve().parents[2] / ".environments/text"
ROWS = 500
CLEAR = 1.5
"""Ratings from -4 to 4 that people agree on."""


@pytest.fixture(scope="module")
def installed() -> Path:
    """The folder with an encoder and reviews."""
    if not (INSTALLATION / "reviews.tsv").exists():
        raise RuntimeError(
            "The tests need an encoder and reviews: run `make test`, or "
            "`python tools/isolated_env.py text`."
        )
    return INSTALLATION


def reviews(file: Path) -> pa.Table:
    """Clear ones, evenly out of all, one a minute."""
    lines = [line.split("\t", 2) for line in file.read_text(encoding="utf-8").splitlines()]
    clear = [(float(rate), text) for _, rate, text in lines if abs(float(rate)) >= CLEAR]
    clear = clear[:: len(clear) // ROWS][:ROWS]
    return pa.table(
        {
            "written": [EPOCH + timedelta(minutes=at) for at in range(len(clear))],
            "review": [text for _, text in clear],
            "praise": [int(rate > 0) for rate, _ in clear],
        }
    )


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def told(inference: InferenceCaller, texts: list[str]) -> np.ndarray:
    """float32 [texts, 2]: the endpoint's probabilities."""
    request = oip.ModelInferRequest(model_name="reviews")
    request.inputs.add(name="review", datatype="BYTES", shape=(len(texts), 1))
    column = np.array([text.encode() for text in texts], dtype=object)
    request.raw_input_contents.append(serialize_byte_tensor(column).item())
    answer = await inference.oip.ModelInfer(request, timeout=TIMEOUT_S)
    place = [output.name for output in answer.outputs].index("probabilities")
    return np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(len(texts), 2)


async def test_reviews_are_told_apart_by_an_endpoint_that_takes_them_as_they_were_written(
    tmp_path: Path, installed: Path
) -> None:
    encoder = str((installed / "encoder").resolve())
    rows = reviews(installed / "reviews.tsv")
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(rows, sink)
    async with running_trainer(tmp_path, encoders={"minilm": encoder}, lease_ttl_s=60.0) as caller:
        model = await caller.registry.create_model("reviews")
        snapshot = await caller.registry.sealed_snapshot("reviews", bytes(sink.getvalue()))
        asked = text_spec(
            model=model,
            features=(Feature("review", FeatureKind.TEXT, encoder="minilm", max_tokens=32),),
            candidates=(Candidate("text_frozen", {"epochs": 20}),),
        )
        request = job_service_pb2.CreateTrainingJobRequest(
            parent=PROJECT,
            training_job_id="reviews",
            training_job=job_pb2.TrainingJob(
                spec=ParseDict(spec_to_json(asked) | {"snapshot": snapshot}, job_pb2.JobSpec())
            ),
            request_id=request_id(),
        )
        submitted = await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
        job = await caller.until_over(submitted.name, within_s=540)
        assert state_name(job) == "SUCCEEDED", job.error
        version = job.model_version
        evaluation = await caller.registry.evaluations.GetEvaluation(
            evaluation_service_pb2.GetEvaluationRequest(name=job.evaluation), timeout=TIMEOUT_S
        )
        assert evaluation.metrics["auc"] > 0.7
        written = json.loads(await artifact(caller, version, "evaluation.json"))
        assert written["beats_baseline"]
        assert written["parity"]["largest_difference"] <= 1e-5
        training = json.loads(await artifact(caller, version, "training.json"))
        known = open_encoder("minilm", encoder)
        expected = {"name": "minilm", "digest": known.digest, "licence": "apache-2.0"}
        assert training["encoder"] == expected
        assert known.digest in (await artifact(caller, version, "card.md")).decode()

        gate = await caller.registry.gate(job.evaluation)
        approval = await caller.registry.ask(version, gate.name)
        await caller.registry.decide(approval.name)
        parts = pq.read_table(pa.BufferReader(await artifact(caller, version, "split.parquet")))
        test = np.asarray(parts["row"])[np.asarray(parts["part"].to_pylist()) == "test"]
        texts = [
            *np.asarray(rows["review"])[test].tolist(),
            "",
            "日本 \N{GRINNING FACE}",
            "x" * 9000,
        ]
        async with (
            fake_monitor() as monitor,
            running_inference(
                tmp_path / "inference", caller.registry_address, monitor.address
            ) as inference,
        ):
            await inference.create_endpoint(
                Registered(version, approval.name), "reviews", log_observations=False
            )
            served = await told(inference, texts)
        session = onnxruntime.InferenceSession(await artifact(caller, version, "model.onnx"))
    column = np.array(texts, dtype=object).reshape(-1, 1)
    (native,) = session.run(["probabilities"], {"review": column})
    assert np.abs(served - native).max() <= 1e-5
    auc = scoring.auc(np.asarray(rows["praise"])[test], served[: len(test), 1])
    assert auc == pytest.approx(evaluation.metrics["auc"])
