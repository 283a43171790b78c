"""What the data plane refuses on a real port, and how it says so."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client
from google.rpc.error_details_pb2 import ErrorInfo
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.support.oip_calls import FLIGHT, error_of, inputs_of, raw_request
from tests.support.probe import details_of


async def test_a_version_that_is_not_loaded_is_not_found(plane, publish, stub):
    await plane.serve(publish(1))
    code, reason, _ = await error_of(stub.ModelInfer(raw_request(model_version="9")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_LOADED")


async def test_an_unknown_endpoint_is_not_found(plane, stub):
    code, reason, _ = await error_of(stub.ModelInfer(raw_request()))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")


async def test_every_wrong_tensor_is_named(plane, publish, stub):
    await plane.serve(publish(1))
    request = raw_request()
    request.inputs[0].name = "speed"
    request.inputs[1].datatype = "INT32"
    code, reason, fields = await error_of(stub.ModelInfer(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TENSOR")
    assert sorted(fields) == ["delay", "distance", "speed"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("surprise", pb.InferParameter(bool_param=True)),
        ("event_time", pb.InferParameter(string_param="now")),
        ("event_time", pb.InferParameter(int64_param=-1)),
        ("sticky_key", pb.InferParameter(int64_param=1)),
        ("timeout", pb.InferParameter(int64_param=0)),
    ],
    ids=["unknown", "time_as_text", "time_before_1970", "key_as_number", "no_timeout"],
)
async def test_a_parameter_that_nothing_acts_on_is_refused(plane, publish, stub, parameter, value):
    await plane.serve(publish(1))
    code, reason, _ = await error_of(stub.ModelInfer(raw_request(parameters={parameter: value})))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_PARAMETER")


async def test_the_classification_of_texts_is_refused(plane, publish, client):
    await plane.serve(publish(1))
    classified = [aio_client.InferRequestedOutput("decision_label", class_count=2)]
    with pytest.raises(InferenceServerException, match="takes numbers"):
        await client.infer("delays", inputs_of(aio_client, FLIGHT), outputs=classified)


@pytest.mark.parametrize("name", ["priority", "sequence_id", "sequence_start", "sequence_end"])
async def test_what_only_tritons_schedulers_know_is_refused_by_name(plane, publish, stub, name):
    await plane.serve(publish(1))
    request = raw_request(parameters={name: pb.InferParameter(int64_param=1)})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request)
    assert details_of(caught.value)[ErrorInfo].metadata["parameter"] == name


async def test_shared_memory_is_refused(plane, publish, client):
    await plane.serve(publish(1))
    tensors = inputs_of(aio_client, FLIGHT)
    tensors[0].set_shared_memory("region", 4)
    with pytest.raises(InferenceServerException):
        await client.infer("delays", tensors)


async def test_bytes_that_are_no_request_are_the_callers_fault(plane, oip_address):
    async with grpc.aio.insecure_channel(oip_address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff")
        code, reason, _ = await error_of(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_an_unknown_output_is_named(plane, publish, stub):
    await plane.serve(publish(1))
    request = raw_request()
    request.outputs.add(name="logits")
    code, reason, fields = await error_of(stub.ModelInfer(request))
    assert (code, reason, fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_TENSOR",
        ["logits"],
    )


async def test_rubbish_requests_are_refused_and_never_break_the_server(plane, publish, stub):
    await plane.serve(publish(1))
    generator = np.random.default_rng(7)
    whole = raw_request().SerializeToString()
    answered = 0
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(generator.integers(1, 6)):
            content[generator.integers(len(content))] = generator.integers(256)
        try:
            request = pb.ModelInferRequest.FromString(bytes(content))
        except Exception:
            continue
        try:
            await stub.ModelInfer(request)
        except grpc.aio.AioRpcError as error:
            assert error.code() in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ), error
        answered += 1
    assert answered > 50
    await stub.ModelInfer(raw_request())


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("delays"),
        lambda client: client.unload_model("delays"),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.get_trace_settings(),
        lambda client: client.get_log_settings(),
    ],
    ids=["load", "unload", "system_memory", "cuda_memory", "trace", "log"],
)
async def test_what_endpoints_own_is_refused_with_a_sentence(client, call):
    with pytest.raises(InferenceServerException) as caught:
        await call(client)
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


async def test_the_refusal_of_a_load_says_who_manages_models(stub):
    request = pb.RepositoryModelLoadRequest(model_name="delays")
    code, reason, _ = await error_of(stub.RepositoryModelLoad(request))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MANAGED_BY_ENDPOINTS")


@pytest.mark.parametrize("rows", [0, -1, 2**31, 2**62, 2**63 - 1])
async def test_more_rows_than_the_request_could_hold_are_refused(plane, publish, stub, rows):
    await plane.serve(publish(1))
    request = raw_request()
    for tensor in request.inputs:
        tensor.shape[0] = rows
    code, reason, _ = await error_of(stub.ModelInfer(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TENSOR")
