"""What the data plane says of what is loaded, on a real port."""

from __future__ import annotations

import pytest
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

from tests.support.oip_calls import FLIGHT, inputs_of


async def test_metadata_config_index_and_statistics_describe_what_is_loaded(plane, publish, client):
    variant = publish(2)
    await plane.serve(publish(1, weight_bp=0), variant)
    await client.infer("delays", inputs_of(aio_client, FLIGHT))
    metadata = await client.get_model_metadata("delays", as_json=True)
    assert metadata["versions"] == ["1", "2"]
    assert [(t["name"], t["datatype"]) for t in metadata["inputs"]] == [
        ("distance", "FP32"),
        ("delay", "FP32"),
        ("carrier", "BYTES"),
    ]
    config = await client.get_model_config("delays")
    assert config.config.parameters["artifact_digest"].string_value == variant.digest
    index = await client.get_model_repository_index()
    assert [(m.name, m.version, m.state) for m in index.models] == [
        ("delays", "1", "READY"),
        ("delays", "2", "READY"),
    ]
    statistics = await client.get_inference_statistics("delays", "2")
    assert statistics.model_stats[0].inference_count >= 1
    assert (await client.get_server_metadata()).name == "roundhouse-inference"


async def test_readiness_runs_a_real_inference(plane, publish, client):
    await plane.serve(publish(1))
    model = plane.predictor.endpoint("delays").variants[0].model
    before = model.statistics.runs
    assert await client.is_model_ready("delays")
    assert model.statistics.runs == before + 1
    await model.unload()
    assert not await client.is_model_ready("delays")


async def test_a_corrupted_bundle_never_serves(plane, publish, client, tmp_path):
    variant = publish(1)
    model = tmp_path / "source" / variant.version / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    await plane.serve(variant)
    assert not await client.is_model_ready("delays")
    with pytest.raises(InferenceServerException, match="no version with a share"):
        await client.infer("delays", inputs_of(aio_client, FLIGHT))


async def test_a_model_that_contradicts_its_signature_never_serves(plane, publish, client):
    wrong = [
        {"name": "label", "datatype": "FP32", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ]
    await plane.serve(publish(1, outputs=wrong))
    assert not await client.is_model_ready("delays")
