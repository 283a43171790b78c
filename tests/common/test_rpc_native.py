"""What the Rust server must keep of grpc.aio's behaviour beyond the suites that run on both."""

from __future__ import annotations

import asyncio
import struct
import time

import grpc
import pytest

from services.common.rpc import native as native_server
from services.common.rpc.server import ServerLimits
from tests.support import probe
from tests.support.probe import SERVICE, Answer, Ask, Probe, ProbeStub, probe_server, probing

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, RESET, HEADERS = 4, 6, 3, 1


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setattr(probe, "NATIVE_METHODS", (f"/{SERVICE}/Ask",))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


async def test_the_chosen_method_sees_its_client_and_the_others_are_passed_on():
    peers = {}

    async def ask(request, context):
        peers["ask"] = context.peer()
        return Answer(text=request.text)

    async def chat(requests, context):
        peers["chat"] = context.peer()
        async for request in requests:
            yield Answer(text=request.text)

    async def asked():
        yield Ask(text="b")

    async with probing(Probe(ask=ask, chat=chat)) as (stub, _):
        assert (await stub.ask(Ask(text="a"), timeout=5)).text == "a"
        assert [answer.text async for answer in stub.chat(asked())] == ["b"]
    assert peers["ask"].startswith("ipv4:127.0.0.1:")
    assert peers["chat"].startswith("unix:")


async def test_metadata_of_both_kinds_arrives():
    seen = {}

    async def ask(request, context):
        seen.update(context.invocation_metadata())
        return Answer(text="a")

    metadata = (("x-text", "plain"), ("x-raw-bin", b"\x00\xff"))
    async with probing(Probe(ask=ask)) as (stub, _):
        await stub.ask(Ask(text="a"), timeout=5, metadata=metadata)
    assert (seen["x-text"], seen["x-raw-bin"]) == ("plain", b"\x00\xff")


async def test_a_compressed_request_is_understood():
    async with probing(Probe()) as (_, server):
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target, compression=grpc.Compression.Gzip) as channel:
            answer = await ProbeStub(channel).ask(Ask(text="a" * 10_000), timeout=5)
    assert answer.text == "a" * 10_000


async def test_bytes_that_are_no_message_are_an_internal_error_of_the_caller_alone():
    async with probing(Probe()) as (stub, server):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{SERVICE}/Ask")(b"\xff\xff", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert (await stub.ask(Ask(text="a"), timeout=5)).text == "a"


async def test_an_answer_that_is_too_large_is_refused():
    async def ask(request, context):
        return Answer(text="a" * 2000)

    limits = ServerLimits(max_message_bytes=1000)
    async with probing(Probe(ask=ask), limits=limits) as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ask(Ask(text="a"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_thousand_calls_at_once_on_one_connection_are_all_answered():
    async with probing(Probe()) as (stub, _):
        calls = [stub.ask(Ask(text=str(i)), timeout=30) for i in range(1500)]
        assert [(await call).text for call in calls] == [str(i) for i in range(1500)]


async def test_answers_given_while_the_server_drains_arrive():
    started = asyncio.Queue()
    release = asyncio.Event()

    async def ask(request, context):
        started.put_nowait(request.text)
        await release.wait()
        return Answer(text=request.text * 1000)

    stopped = probe_server(Probe(ask=ask))
    server = await stopped.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = ProbeStub(channel)
        calls = [stub.ask(Ask(text=str(i)), timeout=20) for i in range(100)]
        for _ in calls:
            await asyncio.wait_for(started.get(), 5)
        draining = asyncio.ensure_future(stopped.__aexit__(None, None, None))
        release.set()
        answers = await asyncio.gather(*calls)
        await draining
    assert [answer.text for answer in answers] == [str(i) * 1000 for i in range(100)]


async def test_answers_given_just_before_a_drain_have_time_to_be_written(monkeypatch):
    monkeypatch.setattr(native_server, "_LAST_WRITES_S", 0.6)
    async with probing(Probe()) as (stub, _):
        await stub.ask(Ask(text="a"), timeout=5)
        answered = time.monotonic()
    assert time.monotonic() - answered >= 0.5


RUBBISH = {
    "no_preface": b"GET / HTTP/1.1\r\n\r\n",
    "frame_before_settings": PREFACE + frame(HEADERS, 4, 1, b"\x83"),
    "undecodable_headers": PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + frame(HEADERS, 4, 1, b"\xff" * 50),
    "cut_short": PREFACE + frame(SETTINGS, 0, 0, b"") + b"\x00\xff",
    "even_stream": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 2, b"\x83"),
    "too_long_a_frame": PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "short_ping": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(PING, 0, 0, b"abc"),
    "many_resets": PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + b"".join(
        frame(HEADERS, 4, stream, b"\x83\x86\x84") + frame(RESET, 0, stream, b"\0\0\0\x08")
        for stream in range(1, 20_001, 2)
    ),
    "many_pings": PREFACE + frame(SETTINGS, 0, 0, b"") + frame(PING, 0, 0, b"abcdefgh") * 20_000,
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_a_client_that_breaks_the_protocol_harms_nobody_else(name):
    async with probing(Probe()) as (stub, server):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(RUBBISH[name])
        for i in range(20):
            assert (await stub.ask(Ask(text=str(i)), timeout=10)).text == str(i)
        writer.close()
        assert (await stub.ask(Ask(text="a"), timeout=10)).text == "a"
