"""The data plane on a real port, called by the stock client."""

from __future__ import annotations

import asyncio
import queue
from dataclasses import replace

import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.grpc import service_pb2 as pb

from services.inference.core.errors import ModelFailed
from services.inference.core.ports import Outcome
from services.inference.core.routing import bucket
from tests.support.bundles import TinyModel
from tests.support.oip_calls import FLIGHT, inputs_of, parameters_of, raw_request
from tests.support.serving import ENDPOINT, endpoint, version_name


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
        "policy": f"{ENDPOINT}/decisionPolicies/1",
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
    failed, answered = [
        [each for each in plane.log.observations if each.failed is wanted]
        for wanted in (True, False)
    ]
    assert {each.variant for each in failed} == {new.version}
    assert {each.variant for each in answered} == {old.version}
    assert len({each.prediction_id for each in plane.log.observations}) == 24
    assert all(each.latency_us > 0 for each in answered)
    assert plane.meters.counts == {Outcome.OK: 12, Outcome.FAILED: 12}
    assert plane.host.fails_often(endpoint([old]), new.digest)


async def _broken(rows, _):
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
