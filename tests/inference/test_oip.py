"""The data plane on a real port, called by the stock client."""

from __future__ import annotations

import asyncio
import queue
from dataclasses import replace

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from services.inference.core.admission import Admission
from services.inference.core.errors import ModelFailed
from services.inference.core.ports import Outcome
from services.inference.core.routing import bucket
from tests.support.bundles import TinyModel
from tests.support.probe import details_of
from tests.support.serving import ENDPOINT, endpoint, oip_server, version_name


def inputs_of(client, *rows: tuple[float, float, str]):
    columns = list(zip(*rows, strict=True))
    made = []
    for name, datatype, values in zip(
        ("distance", "delay", "carrier"), ("FP32", "FP32", "BYTES"), columns, strict=True
    ):
        tensor = client.InferInput(name, [len(rows), 1], datatype)
        dtype = np.float32 if datatype == "FP32" else np.object_
        tensor.set_data_from_numpy(np.array(values, dtype=dtype).reshape(-1, 1))
        made.append(tensor)
    return made


FLIGHT = (100.0, 5.0, "AA")


@pytest.fixture
async def client(oip_address):
    connected = aio_client.InferenceServerClient(oip_address)
    yield connected
    await connected.close()


@pytest.fixture
async def stub(oip_address):
    async with grpc.aio.insecure_channel(oip_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def parameters_of(response) -> dict[str, object]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in response.parameters.items()
    }


async def error_of(call) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, bad = ErrorInfo(), BadRequest()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    return caught.value.code(), info.reason, fields


def raw_request(**changes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="delays")
    for tensor in inputs_of(sync_client, FLIGHT):
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    request.MergeFrom(pb.ModelInferRequest(**changes))
    return request


async def test_a_stock_client_gets_the_models_probabilities(plane, publish, client):
    await plane.serve(publish(1, bias=0.5))
    rows = [FLIGHT, (float("nan"), -3.0, "UA"), (7.0, 1.0, "ZZ")]
    result = await client.infer("delays", inputs_of(aio_client, *rows))
    expected = [TinyModel(0.5).probability(*row) for row in rows]
    np.testing.assert_allclose(result.as_numpy("probabilities")[:, 1], expected, rtol=1e-5)
    assert result.as_numpy("label").tolist() == [int(p > 0.5) for p in expected]


async def test_the_synchronous_stock_client_works_too(plane, publish, oip_address):
    await plane.serve(publish(1))

    def call():
        with sync_client.InferenceServerClient(oip_address) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("delays")
            assert client.is_model_ready("delays", "1")
            return client.infer("delays", inputs_of(sync_client, FLIGHT)).as_numpy("probabilities")

    answer = await asyncio.to_thread(call)
    assert answer[0, 1] == pytest.approx(TinyModel().probability(*FLIGHT))


async def test_the_response_tells_the_decision_and_where_it_came_from(plane, publish, client):
    variant = publish(3, bias=4.0)
    await plane.serve(variant)
    result = await client.infer(
        "delays", inputs_of(aio_client, FLIGHT), request_id="r-1", parameters={"event_time": 77}
    )
    told = parameters_of(result.get_response())
    confidence = told.pop("confidence")
    assert confidence == pytest.approx(TinyModel(4.0).probability(*FLIGHT))
    assert told == {
        "model_digest": variant.digest,
        "model_version": "3",
        "variant": version_name(3),
        "prediction_id": "r-1",
        "policy_version": 1,
        "time": 77,
        "label": 1,
        "labels": "1",
        "action": "rebook",
        "actions": "rebook",
    }


async def test_many_rows_get_their_decisions_as_tensors_when_asked(plane, publish, client):
    await plane.serve(publish(1))
    wanted = [
        aio_client.InferRequestedOutput(name)
        for name in ("decision_label", "decision_action", "confidence")
    ]
    rows = [(0.0, 60.0, "AA"), (0.0, -60.0, "UA")]
    result = await client.infer("delays", inputs_of(aio_client, *rows), outputs=wanted)
    assert result.as_numpy("decision_label").tolist() == [b"1", b"0"]
    assert result.as_numpy("decision_action").tolist() == [b"rebook", b"none"]
    assert (result.as_numpy("confidence") > 0.9).all()
    assert result.as_numpy("probabilities") is None


async def test_each_answer_is_observed_with_its_rows(plane, publish, client):
    await plane.serve(publish(1))
    await client.infer("delays", inputs_of(aio_client, FLIGHT, FLIGHT), request_id="r")
    (observed,) = plane.log.observations
    assert (observed.prediction_id, observed.endpoint) == ("r", ENDPOINT)
    assert observed.variant == version_name(1)
    assert observed.rows.count == 2
    assert observed.rows.text == (["AA", "AA"],)


async def test_an_endpoint_that_does_not_log_is_not_observed(plane, publish, client):
    await plane.serve(publish(1), logs_observations=False)
    await client.infer("delays", inputs_of(aio_client, FLIGHT))
    assert plane.log.observations == []


async def test_a_sticky_caller_stays_on_its_variant(plane, publish, client):
    await plane.serve(publish(2, bias=1.0, weight_bp=5000), publish(1, weight_bp=5000))
    for key in map(str, range(20)):
        expected = version_name(2 if bucket(ENDPOINT, key) < 5000 else 1)
        for _ in range(2):
            result = await client.infer(
                "delays", inputs_of(aio_client, FLIGHT), parameters={"sticky_key": key}
            )
            assert parameters_of(result.get_response())["variant"] == expected


async def test_a_pinned_version_is_answered_by_that_version(plane, publish, client):
    await plane.serve(publish(2, weight_bp=0), publish(1))
    result = await client.infer("delays", inputs_of(aio_client, FLIGHT), model_version="2")
    assert result.get_response().model_version == "2"


async def test_a_version_that_is_not_loaded_is_not_found(plane, publish, stub):
    await plane.serve(publish(1))
    code, reason, _ = await error_of(stub.ModelInfer(raw_request(model_version="9")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_LOADED")


async def test_an_unknown_endpoint_is_not_found(plane, stub):
    code, reason, _ = await error_of(stub.ModelInfer(raw_request()))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")


async def test_a_canary_through_all_its_weights_answers_every_call(plane, publish, client):
    old, new = publish(1), publish(2, bias=1.0)
    await plane.serve(old)
    seen = set()
    stopped = asyncio.Event()

    async def caller(number: int) -> int:
        calls = 0
        while not stopped.is_set():
            result = await client.infer(
                "delays",
                inputs_of(aio_client, FLIGHT),
                parameters={"sticky_key": f"{number}-{calls}"},
            )
            answer = result.get_response()
            seen.add(answer.model_version)
            bias = 1.0 if answer.model_version == "2" else 0.0
            probability = result.as_numpy("probabilities")[0, 1]
            assert probability == pytest.approx(TinyModel(bias).probability(*FLIGHT))
            calls += 1
        return calls

    async def canary() -> None:
        for share in (0, 500, 5000, 10_000):
            await plane.serve(replace(new, weight_bp=share), replace(old, weight_bp=10_000 - share))
            reached = len(plane.log.observations) + 100
            while len(plane.log.observations) < reached:
                await asyncio.sleep(0)
        await plane.serve(new)
        stopped.set()

    *calls, _ = await asyncio.gather(*(caller(n) for n in range(4)), canary())
    assert seen == {"1", "2"}
    assert sum(calls) == len(plane.log.observations)
    assert set(plane.meters.counts) == {Outcome.OK}


async def test_what_a_candidate_cannot_run_the_stable_version_answers(plane, publish, client):
    old, new = publish(1), publish(2, bias=1.0)
    await plane.serve(replace(new, weight_bp=9_999), replace(old, weight_bp=1))
    candidate = plane.predictor.endpoint("delays").variants[0].model
    candidate._batcher._run = _broken
    for i in range(12):
        result = await client.infer("delays", inputs_of(aio_client, FLIGHT), request_id=str(i))
        assert result.get_response().model_version == "1"
    assert len(plane.log.observations) == 12
    assert plane.meters.counts == {Outcome.OK: 12, Outcome.FAILED: 12}
    assert plane.host.fails_often(endpoint([old]), new.digest)


async def _broken(rows):
    raise ModelFailed(version_name(2), "broken")


async def test_typed_contents_mean_the_same_as_raw_ones(plane, publish, stub):
    await plane.serve(publish(1))
    typed = pb.ModelInferRequest(model_name="delays")
    for name, datatype in (("distance", "FP32"), ("delay", "FP32"), ("carrier", "BYTES")):
        typed.inputs.add(name=name, datatype=datatype, shape=(1, 1))
    typed.inputs[0].contents.fp32_contents.append(100.0)
    typed.inputs[1].contents.fp32_contents.append(5.0)
    typed.inputs[2].contents.bytes_contents.append(b"AA")
    by_type = await stub.ModelInfer(typed)
    by_raw = await stub.ModelInfer(raw_request())
    assert by_type.raw_output_contents == by_raw.raw_output_contents


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


async def test_shared_memory_and_classification_are_refused(plane, publish, client):
    await plane.serve(publish(1))
    classified = [aio_client.InferRequestedOutput("probabilities", class_count=2)]
    with pytest.raises(InferenceServerException):
        await client.infer("delays", inputs_of(aio_client, FLIGHT), outputs=classified)
    tensors = inputs_of(aio_client, FLIGHT)
    tensors[0].set_shared_memory("region", 4)
    with pytest.raises(InferenceServerException):
        await client.infer("delays", tensors)


async def test_bytes_that_are_no_request_are_the_callers_fault(plane, oip_address):
    async with grpc.aio.insecure_channel(oip_address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff")
        code, reason, _ = await error_of(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_interleaved_callers_of_all_sizes_get_exactly_their_own_rows(plane, publish, client):
    await plane.serve(publish(1, bias=0.5))
    generator = np.random.default_rng(7)

    async def call(number: int) -> None:
        rows = [
            (
                float(np.float32(generator.choice([np.nan, generator.normal()]))),
                float(np.float32(generator.normal())),
                str(generator.choice(["AA", "UA", "", "é" * number, "x" * 300])),
            )
            for _ in range(generator.integers(1, 40))
        ]
        tensors = inputs_of(aio_client, *rows)
        generator.shuffle(tensors)
        result = await client.infer("delays", tensors, request_id=str(number))
        assert result.get_response().id == str(number)
        expected = [TinyModel(0.5).probability(*row) for row in rows]
        np.testing.assert_allclose(result.as_numpy("probabilities")[:, 1], expected, rtol=1e-4)

    await asyncio.gather(*(call(number) for number in range(150)))
    runs = plane.predictor.endpoint("delays").variants[0].model.statistics.runs
    assert runs < 150


@pytest.mark.parametrize("native", [False, True], ids=["grpcio", "native"])
async def test_a_caller_with_too_many_calls_is_told_when_to_come_back(plane, publish, native):
    await plane.serve(publish(1))
    model = plane.predictor.endpoint("delays").variants[0].model
    entered, release = asyncio.Queue(), asyncio.Event()
    run = model._batcher._run

    async def held(rows):
        entered.put_nowait(rows)
        await release.wait()
        return await run(rows)

    model._batcher._run = held
    admission = Admission(max_calls_per_caller=3, max_bytes=1 << 20)
    async with (
        oip_server(plane, native, admission) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [asyncio.ensure_future(_finished(stub.ModelInfer(raw_request()))) for _ in range(3)]
        await asyncio.wait_for(entered.get(), 10)
        async with asyncio.timeout(10):
            while admission.calls_under_way < 3:
                await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(raw_request())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = details_of(caught.value)
        assert details[ErrorInfo].reason == "TOO_MANY_CALLS"
        assert details[RetryInfo].retry_delay.ToTimedelta().total_seconds() > 0
        release.set()
        await asyncio.gather(*calls)
        assert (admission.calls_under_way, admission.bytes_under_way) == (0, 0)
        await stub.ModelInfer(raw_request())


async def _finished(call):
    return await call


async def test_a_flood_is_refused_in_part_and_answered_in_part_and_leaves_nothing(plane, publish):
    await plane.serve(publish(1))
    batcher = plane.predictor.endpoint("delays").variants[0].model._batcher
    batcher._limits = replace(batcher._limits, max_waiting_rows=20, max_batch_rows=4)
    admission = Admission(max_calls_per_caller=400, max_bytes=1 << 20)
    outcomes = {}

    async def call(stub) -> None:
        try:
            await stub.ModelInfer(raw_request(), timeout=60)
            outcome = "answered"
        except grpc.aio.AioRpcError as error:
            outcome = details_of(error)[ErrorInfo].reason
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    async with (
        oip_server(plane, True, admission) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await asyncio.gather(*(call(stub) for _ in range(800)))
    assert outcomes["answered"] == len(plane.log.observations)
    assert sum(outcomes.values()) == 800
    assert set(outcomes) <= {"answered", "QUEUE_FULL", "TOO_MANY_CALLS"}
    assert (admission.calls_under_way, admission.bytes_under_way) == (0, 0)
    assert batcher.waiting_rows == 0


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


async def test_the_stream_answers_in_order_and_survives_a_refused_request(
    plane, publish, oip_address
):
    await plane.serve(publish(1))
    heard: queue.Queue = queue.Queue()

    def call() -> None:
        with sync_client.InferenceServerClient(oip_address) as client:
            client.start_stream(lambda result, error: heard.put((result, error)))
            good = inputs_of(sync_client, FLIGHT)
            client.async_stream_infer("delays", good, request_id="1")
            client.async_stream_infer("delays", good[:1], request_id="2")
            client.async_stream_infer("delays", good, request_id="3")
            client.stop_stream()

    await asyncio.to_thread(call)
    answers = [heard.get_nowait() for _ in range(3)]
    assert [error is None for _, error in answers] == [True, False, True]
    assert answers[2][0].get_response().id == "3"


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
