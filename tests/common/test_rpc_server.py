from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2 as health
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.common.rpc.server import ServerLimits, serving
from tests.support.probe import (
    SERVICE,
    Answer,
    Ask,
    Probe,
    ProbeStub,
    info_of,
    probe_server,
    probing,
)

pytestmark = pytest.mark.usefixtures("both_servers")

Status = health.HealthCheckResponse


def channel_to(server):
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")


async def code_of_new_call(server):
    async with channel_to(server) as channel:
        call = ProbeStub(channel).list(Ask(text="a"), timeout=5)
        with suppress(grpc.aio.AioRpcError):
            async for _ in call:  # the status comes behind the last message
                pass
        return await call.code()


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_health_is_not_serving_until_ready(name):
    async with probing(Probe()) as (_, server), channel_to(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health.HealthCheckRequest(service=name)
        assert (await stub.Check(request)).status == Status.NOT_SERVING
        server.set_serving()
        assert (await stub.Check(request)).status == Status.SERVING


async def test_health_of_an_unknown_service_is_not_found():
    async with probing(Probe()) as (_, server), channel_to(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health.HealthCheckRequest(service="nobody")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await anext(aiter(stub.Watch(request)))).status == Status.SERVICE_UNKNOWN


async def test_health_watchers_see_each_change_and_end_with_the_server():
    seen = asyncio.Queue()

    async def watch(stub):
        async for response in stub.Watch(health.HealthCheckRequest(service=SERVICE)):
            seen.put_nowait(response.status)

    async with asyncio.TaskGroup() as watchers:
        serving_probe = probe_server(Probe())
        server = await serving_probe.__aenter__()
        async with channel_to(server) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            leaver = stub.Watch(health.HealthCheckRequest(service=SERVICE))
            await anext(aiter(leaver))
            watchers.create_task(watch(stub))
            assert await asyncio.wait_for(seen.get(), 5) == Status.NOT_SERVING
            leaver.cancel()
            server.set_serving()
            assert await asyncio.wait_for(seen.get(), 5) == Status.SERVING
            await asyncio.wait_for(serving_probe.__aexit__(None, None, None), 5)
            assert await asyncio.wait_for(seen.get(), 5) == Status.NOT_SERVING


async def test_reflection_lists_the_served_services():
    async with probing(Probe()) as (_, server), channel_to(server) as channel:

        async def ask():
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answer = await anext(aiter(stub.ServerReflectionInfo(ask())))
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_a_drain_lets_a_call_in_flight_finish_and_refuses_new_ones():
    started, release = asyncio.Event(), asyncio.Event()

    async def ask(request, context):
        started.set()
        await release.wait()
        return Answer(text="finished")

    stopped = probe_server(Probe(ask=ask))
    server = await stopped.__aenter__()
    async with channel_to(server) as channel:
        stub = ProbeStub(channel)
        in_flight = stub.ask(Ask(text="a"), timeout=20)
        await asyncio.wait_for(started.wait(), 5)
        draining = asyncio.ensure_future(stopped.__aexit__(None, None, None))
        async with asyncio.timeout(20):  # the listener closes a moment after the drain begins
            while await code_of_new_call(server) is grpc.StatusCode.OK:
                pass
        assert await code_of_new_call(server) is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        release.set()
        assert (await in_flight).text == "finished"
        await draining


async def test_a_drain_cancels_what_is_left_after_its_limit():
    started = asyncio.Event()

    async def ask(request, context):
        started.set()
        await asyncio.Event().wait()

    limits = ServerLimits(drain_timeout_s=0.1)
    stopped = probe_server(Probe(ask=ask), limits=limits)
    server = await stopped.__aenter__()
    async with channel_to(server) as channel:
        in_flight = ProbeStub(channel).ask(Ask(text="a"), timeout=20)
        await asyncio.wait_for(started.wait(), 5)
        await asyncio.wait_for(stopped.__aexit__(None, None, None), 5)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await in_flight


async def test_a_drain_ends_following_streams_with_a_reason_after_what_they_had_to_send():
    async def watch(request, context):
        yield Answer(text="first")
        await asyncio.Event().wait()

    stopped = probe_server(Probe(watch=watch))
    server = await stopped.__aenter__()
    async with channel_to(server) as channel:
        stream = aiter(ProbeStub(channel).watch(Ask(text="a")))
        assert (await anext(stream)).text == "first"
        await asyncio.wait_for(stopped.__aexit__(None, None, None), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(caught.value)[0] == "DRAINING"


async def test_a_taken_port_stops_the_start():
    async with probing(Probe()) as (_, server):
        with pytest.raises(RuntimeError):
            async with serving("probe", f"127.0.0.1:{server.port}", [Probe().api()]):
                pass


async def test_too_large_a_message_is_refused():
    async with probing(Probe(), limits=ServerLimits(max_message_bytes=1000)) as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ask(Ask(text="x" * 2000), timeout=5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_more_concurrent_calls_than_allowed_are_refused():
    started, release = asyncio.Event(), asyncio.Event()

    async def ask(request, context):
        started.set()
        await release.wait()
        return Answer(text=request.text)

    limits = ServerLimits(max_concurrent_rpcs=1)
    async with probing(Probe(ask=ask), limits=limits) as (stub, _):
        first = stub.ask(Ask(text="a"), timeout=20)
        await asyncio.wait_for(started.wait(), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ask(Ask(text="b"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        release.set()
        assert (await first).text == "a"
