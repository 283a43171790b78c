"""Many callers at once, on a real port: each gets its own rows or is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from tritonclient.grpc import service_pb2_grpc

from services.inference.core.admission import Admission
from tests.support.bundles import TinyModel
from tests.support.oip_calls import inputs_of, raw_request
from tests.support.probe import details_of
from tests.support.serving import oip_server


async def test_interleaved_callers_of_all_sizes_get_exactly_their_own_rows(plane, publish, client):
    await plane.serve(publish(1, bias=0.5))
    model = plane.predictor.endpoint("delays").variants[0].model
    run = model._batcher._run

    async def slow(rows, deadline):
        await asyncio.sleep(0.01)  # for others to come meanwhile, however slowly they are sent
        return await run(rows, deadline)

    model._batcher._run = slow
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
    assert model.statistics.runs < 150


@pytest.mark.parametrize("native", [False, True], ids=["grpcio", "native"])
async def test_a_caller_with_too_many_calls_is_told_when_to_come_back(plane, publish, native):
    await plane.serve(publish(1))
    model = plane.predictor.endpoint("delays").variants[0].model
    entered, release = asyncio.Queue(), asyncio.Event()
    run = model._batcher._run

    async def held(rows, deadline):
        entered.put_nowait(rows)
        await release.wait()
        return await run(rows, deadline)

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
