"""The same calls through an endpoint and to Triton itself: the same bytes come back."""

from __future__ import annotations

import asyncio
import json
import math
import queue

import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.grpc import service_pb2 as pb

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.repository import model_name
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.core.endpoints import Runtime
from tests.support.oip_calls import FLIGHT, inputs_of, parameters_of
from tests.support.serving import data_plane, oip_server

ROWS = [FLIGHT, (math.nan, -3.0, "UA"), (7.5, 1.0, ""), (1e30, 0.0, "Ünïted ✈")]
ECHO = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("out", pb_utils.get_input_tensor_by_name(r, "in").as_numpy())]
            )
            for r in requests
        ]
"""


def typed(rows) -> pb.ModelInferRequest:
    """The rows in the fields of their types."""
    request = pb.ModelInferRequest()
    distances, delays, carriers = zip(*rows, strict=True)
    for name, datatype in (("distance", "FP32"), ("delay", "FP32"), ("carrier", "BYTES")):
        request.inputs.add(name=name, datatype=datatype, shape=(len(rows), 1))
    request.inputs[0].contents.fp32_contents.extend(distances)
    request.inputs[1].contents.fp32_contents.extend(delays)
    request.inputs[2].contents.bytes_contents.extend(text.encode() for text in carriers)
    return request


def raw(rows, backwards: bool = False) -> pb.ModelInferRequest:
    """The rows as stock clients send them."""
    request = pb.ModelInferRequest()
    tensors = inputs_of(sync_client, *rows)
    for tensor in reversed(tensors) if backwards else tensors:
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    return request


def asking_for(request: pb.ModelInferRequest, *outputs: str) -> pb.ModelInferRequest:
    for name in outputs:
        request.outputs.add(name=name)
    return request


CALLS = {
    "raw": lambda: raw(ROWS),
    "raw_one_row": lambda: raw(ROWS[:1]),
    "raw_inputs_backwards": lambda: raw(ROWS, backwards=True),
    "typed": lambda: typed(ROWS),
    "one_output": lambda: asking_for(raw(ROWS), "probabilities"),
    "outputs_by_name": lambda: asking_for(typed(ROWS), "label", "probabilities"),
}


def outputs_of(response) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        output.name: (output.datatype, tuple(output.shape), content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


@pytest.mark.real
async def test_each_call_gets_the_bytes_that_triton_itself_gives(tmp_path, publish, triton_server):
    async with background_tasks() as tasks:
        runtime = TritonRuntime(ReplicaPool([triton_server.address]), tasks, BatchLimits())
        async with data_plane(tmp_path, {Runtime.TRITON: runtime}) as plane:
            await plane.serve(publish(1, bias=0.5), runtime=Runtime.TRITON)
            loaded = plane.predictor.endpoint("delays").variants[0].model._bundle
            direct = aio_client.InferenceServerClient(triton_server.address)
            for native in (False, True):
                async with oip_server(plane, native=native) as address:
                    ours = aio_client.InferenceServerClient(address)
                    for name, make in CALLS.items():
                        request = make()
                        request.id = name
                        request.model_name = "delays"
                        got = await ours._client_stub.ModelInfer(request)
                        request.model_name = model_name(loaded)
                        expected = await direct._client_stub.ModelInfer(request)
                        assert outputs_of(got) == outputs_of(expected), name
                        assert got.id == expected.id == name
                    await ours.close()
            await direct.close()
            plane.host.close()
        await runtime.close()


@pytest.mark.real
async def test_classification_reads_as_tritons_own(plane, publish, triton_server, client):
    await plane.serve(publish(1))
    config = {
        "name": "echo",
        "backend": "python",
        "max_batch_size": 8,
        "input": [{"name": "in", "data_type": "TYPE_FP32", "dims": [2]}],
        "output": [{"name": "out", "data_type": "TYPE_FP32", "dims": [2]}],
    }
    direct = aio_client.InferenceServerClient(triton_server.address)
    await direct.load_model(
        "echo", config=json.dumps(config), files={"file:1/model.py": ECHO.encode()}
    )
    whole = await client.infer("delays", inputs_of(aio_client, *ROWS))
    probabilities = whole.as_numpy("probabilities")
    for count in (1, 2, 5):
        tensor = aio_client.InferInput("in", list(probabilities.shape), "FP32")
        tensor.set_data_from_numpy(probabilities)
        expected = await direct.infer(
            "echo", [tensor], outputs=[aio_client.InferRequestedOutput("out", class_count=count)]
        )
        wanted = aio_client.InferRequestedOutput("probabilities", class_count=count)
        got = await client.infer("delays", inputs_of(aio_client, *ROWS), outputs=[wanted])
        np.testing.assert_array_equal(got.as_numpy("probabilities"), expected.as_numpy("out"))
    await direct.unload_model("echo")
    await direct.close()


async def test_stock_clients_of_every_kind_run_through_a_canary(plane, publish, oip_address):
    await plane.serve(publish(2, bias=1.0, weight_bp=5000), publish(1, weight_bp=5000))
    answers = []

    def call_synchronously() -> None:
        heard: queue.Queue = queue.Queue()
        with sync_client.InferenceServerClient(oip_address) as client:
            tensors = inputs_of(sync_client, FLIGHT)
            for number in range(20):
                key = {"sticky_key": f"sync-{number}"}
                answers.append(client.infer("delays", tensors, parameters=key))
                client.async_infer(
                    "delays",
                    tensors,
                    lambda result, error: heard.put((result, error)),
                    parameters={"sticky_key": f"async-{number}"},
                )
            client.start_stream(lambda result, error: heard.put((result, error)))
            for number in range(20):
                client.async_stream_infer(
                    "delays",
                    tensors,
                    request_id=f"stream-{number}",
                    enable_empty_final_response=True,
                )
            client.stop_stream()
            for _ in range(40):
                result, error = heard.get(timeout=30)
                assert error is None
                answers.append(result)

    await asyncio.to_thread(call_synchronously)

    async def requests():
        for number in range(20):
            yield {
                "model_name": "delays",
                "inputs": inputs_of(aio_client, FLIGHT),
                "request_id": f"aio-{number}",
            }

    async with aio_client.InferenceServerClient(oip_address) as client:
        for number in range(20):
            key = {"sticky_key": f"aio-{number}"}
            answers.append(
                await client.infer("delays", inputs_of(aio_client, FLIGHT), parameters=key)
            )
        async for result, error in client.stream_infer(requests()):
            assert error is None
            answers.append(result)
    responses = [answer.get_response() for answer in answers]
    assert len(responses) == 100
    assert {response.model_version for response in responses} == {"1", "2"}
    finals = [parameters_of(each).get("triton_final_response") for each in responses]
    assert finals.count(True) == 40
