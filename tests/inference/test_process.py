"""The service as a process that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import grpc
import pytest
from roundhouse.common.v1 import events_pb2
from roundhouse.inference.v1 import endpoint_service_pb2

from tests.support.eventually import eventually
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.inference_process import InferenceProcess


@pytest.fixture
async def killable(tmp_path):
    """A running service, what calls it, its registry and its monitor."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(registry_with_models(tmp_path / "registry"))
        monitor = await stack.enter_async_context(fake_monitor())
        process = InferenceProcess(tmp_path, registry.address, monitor.address)
        process.start()
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(
                process.address, options=[("grpc.max_reconnect_backoff_ms", 200)]
            )
        )
        async with asyncio.timeout(60):
            await channel.channel_ready()
        yield process, InferenceCaller(channel, process.address), registry, monitor
        await asyncio.to_thread(process.end, signal.SIGKILL)


async def test_no_answered_prediction_is_lost_to_sigkill(killable):
    process, inference, registry, monitor = killable
    await inference.create_endpoint(await registry.approved())
    answered: list[str] = []

    async def call_until_refused(caller: int) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            for number in range(100_000):
                prediction_id = f"{caller}-{number}-{len(answered)}"
                await inference.predict(prediction_id=prediction_id)
                answered.append(f"{prediction_id}:0")

    for _ in range(3):
        calls = [asyncio.ensure_future(call_until_refused(caller)) for caller in range(4)]
        reached = len(answered) + 200
        await eventually(lambda reached=reached: len(answered) >= reached)
        await asyncio.to_thread(process.end, signal.SIGKILL)
        await asyncio.gather(*calls)
        process.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await inference.predict(prediction_id=f"up-{len(answered)}")
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
    await eventually(lambda: set(answered) <= set(monitor.prediction_ids), within_s=60)
    ids = monitor.prediction_ids
    assert len(ids) == len(set(ids)), "an observation was stored twice"


async def test_sigterm_answers_what_is_under_way_and_ends_with_zero(killable):
    process, inference, registry, monitor = killable
    await inference.create_endpoint(await registry.approved())
    await inference.predict(prediction_id="last")
    assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
    assert monitor.prediction_ids == ["last:0"]
    process.start()


@pytest.mark.real
async def test_the_registry_hears_of_each_turn_once_though_the_teller_is_killed(killable):
    process, inference, registry, _ = killable
    first = await registry.approved()
    for number in range(3):
        await inference.create_endpoint(first, endpoint_id=f"e{number}", alias="")
        # At once: what was told is not noted yet, or what happened is not told yet.
        await asyncio.to_thread(process.end, signal.SIGKILL)
        process.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await inference.endpoints.GetEndpoint(
                        endpoint_service_pb2.GetEndpointRequest(
                            name=f"projects/default/endpoints/e{number}"
                        ),
                        timeout=5,
                    )
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
    subjects: list[str] = []
    async with asyncio.timeout(60):
        while len(subjects) < 3:
            request = events_pb2.WatchEventsRequest(
                type_prefixes=["roundhouse.registry.deployment.recorded"]
            )
            subjects = [
                item.event.subject
                async for item in registry.caller.events.WatchEvents(request, timeout=20)
                if item.HasField("event")
            ]
            await asyncio.sleep(0.1)
    assert subjects == [f"projects/default/endpoints/e{number}" for number in range(3)]
