"""The lean client against grpc.aio's own server: answers, statuses and limits are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from services.inference.adapters.unary.channel import UnaryMethod
from tests.support.processes import free_ports

PATH = "/probe.Probe/Ask"
LIMIT_BYTES = 32 << 20

Behave = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


@asynccontextmanager
async def serving(
    behave: Behave, address: str = "127.0.0.1:0", **options: int
) -> AsyncIterator[tuple[str, grpc.aio.Server]]:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            *((f"grpc.{name}", value) for name, value in options.items()),
        ]
    )
    handler = grpc.unary_unary_rpc_method_handler(behave)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("probe.Probe", {"Ask": handler}),)
    )
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(0)


@asynccontextmanager
async def calling(address: str, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[UnaryMethod]:
    method = UnaryMethod(address, PATH, limit_bytes)
    try:
        yield method
    finally:
        await method.close()


async def echo(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
    return request


async def failure(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 65_531, 65_536, 300_000, 9 << 20])
async def test_a_message_of_any_size_comes_back_whole(size):
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with serving(echo) as (address, _), calling(address) as method:
        for _ in range(3):
            assert await method.call(message, 20) == message


async def test_calls_at_once_get_their_own_answers():
    messages = [bytes([i % 256]) * (i * 700) for i in range(300)]
    async with serving(echo) as (address, _), calling(address) as method:
        answers = await asyncio.gather(*(method.call(message, 30) for message in messages))
    assert answers == messages


async def test_calls_beyond_what_the_server_allows_wait_for_their_turn():
    most = under_way = 0

    async def slow(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return request

    server = serving(slow, max_concurrent_streams=4)
    async with server as (address, _), calling(address) as method:
        messages = [b"%d" % i for i in range(40)]
        assert await asyncio.gather(*(method.call(each, 20) for each in messages)) == messages
    assert 1 < most <= 4


async def test_a_refusal_has_the_servers_code_and_text():
    async def refuse(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown model: ä 100%")
        return b""

    async with serving(refuse) as (address, _), calling(address) as method:
        for _ in range(2):
            error = await failure(method.call(b"a", 20))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.NOT_FOUND,
                "unknown model: ä 100%",
            )


async def test_a_method_that_is_not_there_is_unimplemented():
    async with serving(echo) as (address, _):
        method = UnaryMethod(address, "/probe.Probe/Other", LIMIT_BYTES)
        error = await failure(method.call(b"a", 20))
        await method.close()
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_server_knows_the_deadline_and_the_caller_does_not_wait_longer():
    left = []
    ended = asyncio.Event()

    async def never(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
        left.append(context.time_remaining())
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(never) as (address, _), calling(address) as method:
        error = await failure(method.call(b"a", 0.3))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(20):
            await ended.wait()
    assert 0 < left[0] <= 0.3


async def test_a_caller_that_leaves_ends_the_work_and_nobody_elses():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def behave(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        if request == b"stay":
            return request
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(behave) as (address, _), calling(address) as method:
        leaving = asyncio.create_task(method.call(b"leave", 60))
        async with asyncio.timeout(20):
            await begun.wait()
            leaving.cancel()
            await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await method.call(b"stay", 20) == b"stay"


async def test_an_answer_beyond_the_limit_is_refused_and_the_next_call_works():
    async with serving(echo) as (address, _), calling(address, limit_bytes=1000) as method:
        error = await failure(method.call(b"a" * 200_000, 20))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await method.call(b"a" * 1000, 20) == b"a" * 1000


async def test_without_a_server_calls_fail_at_once_and_work_when_it_is_there():
    (port,) = free_ports(1)
    async with calling(f"127.0.0.1:{port}") as method:
        errors = await asyncio.gather(*(failure(method.call(b"a", 20)) for _ in range(3)))
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
        async with serving(echo, f"127.0.0.1:{port}"):
            assert await method.call(b"a", 20) == b"a"


async def test_a_server_that_drains_finishes_what_it_has_and_gets_no_more():
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def behave(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        begun.set()
        await go_on.wait()
        return request

    async with serving(behave) as (address, server), calling(address) as method:
        under_way = asyncio.create_task(method.call(b"early", 60))
        async with asyncio.timeout(20):
            await begun.wait()
            stopping = asyncio.create_task(server.stop(30))
            while (await failure(method.call(b"late", 5))).code() is not (
                grpc.StatusCode.UNAVAILABLE
            ):
                pass
            go_on.set()
            assert await under_way == b"early"
            await stopping


async def test_a_lost_connection_fails_what_is_under_way():
    begun = asyncio.Event()

    async def never(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async with calling("127.0.0.1:1") as nobody:
        assert (await failure(nobody.call(b"a", 20))).code() is grpc.StatusCode.UNAVAILABLE
    async with serving(never) as (address, server), calling(address) as method:
        under_way = asyncio.create_task(failure(method.call(b"a", 60)))
        async with asyncio.timeout(20):
            await begun.wait()
            await server.stop(0)
            error = await under_way
    assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
