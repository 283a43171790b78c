"""The whole service restarted, twice on one database, and in front of a real Triton."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2

from tests.support.bundles import TinyModel
from tests.support.fake_monitor import Response
from tests.support.inference_api import (
    ENDPOINT,
    QUICK,
    TIMEOUT_S,
    State,
    request_id,
    running_inference,
    state_of,
)

FLIGHT = (100.0, 5.0, "AA")


async def test_a_restarted_service_serves_and_goes_on_where_it_was(tmp_path, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    folder = tmp_path / "inference"
    async with running_inference(folder, registry.address, monitor.address) as inference:
        await inference.create_endpoint(old)
        await inference.create_rollout(new, phases=QUICK)
        await state_of(inference, "r", State.STATE_RUNNING)
    monitor.verdict = Response.VERDICT_PASS
    async with running_inference(folder, registry.address, monitor.address) as inference:
        assert (await inference.predict())[0] in (old.version, new.version)
        await state_of(inference, "r", State.STATE_SUCCEEDED)
        assert (await inference.predict())[0] == new.version


async def test_a_restart_needs_no_registry(tmp_path, registry, monitor):
    registered = await registry.approved()
    folder = tmp_path / "inference"
    async with running_inference(folder, registry.address, monitor.address) as inference:
        await inference.create_endpoint(registered)
    nowhere = "127.0.0.1:9"
    async with running_inference(folder, nowhere, nowhere) as inference:
        assert (await inference.predict())[0] == registered.version


async def test_two_replicas_on_one_database_serve_the_same_split(
    tmp_path, registry, monitor, postgres_url
):
    registered = await registry.approved()
    async with (
        running_inference(
            tmp_path / "a", registry.address, monitor.address, database_url=postgres_url
        ) as one,
        running_inference(
            tmp_path / "b", registry.address, monitor.address, database_url=postgres_url
        ) as two,
    ):
        await one.create_endpoint(registered)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    version, _ = await two.predict()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        assert version == registered.version
        await two.create_rollout(await registry.approved(1.0), phases=QUICK)
        monitor.verdict = Response.VERDICT_PASS
        await state_of(one, "r", State.STATE_SUCCEEDED)


@pytest.mark.real
async def test_an_endpoint_on_triton_goes_through_a_canary(
    tmp_path, registry, monitor, triton_server
):
    old, new = await registry.approved(), await registry.approved(1.0)
    async with running_inference(
        tmp_path / "inference",
        registry.address,
        monitor.address,
        triton_address=triton_server.address,
    ) as inference:
        await inference.create_endpoint(old, runtime=endpoint_pb2.Endpoint.RUNTIME_TRITON)
        await inference.create_rollout(new, phases=QUICK)
        monitor.verdict = Response.VERDICT_PASS
        answers = 0
        async with asyncio.timeout(60):
            while (await inference.rollout()).state != State.STATE_SUCCEEDED:
                version, probability = await inference.predict(str(answers))
                bias = 1.0 if version == new.version else 0.0
                assert probability == pytest.approx(TinyModel(bias).probability(*FLIGHT))
                answers += 1
        assert answers
        assert (await inference.predict())[0] == new.version
        await inference.endpoints.DeleteEndpoint(
            endpoint_service_pb2.DeleteEndpointRequest(name=ENDPOINT, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
