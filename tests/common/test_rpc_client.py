from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from opentelemetry.trace import SpanKind

from services.common.causality import causality, caused_by
from services.common.errors import NotFound, Unavailable
from services.common.rpc.client import connect
from services.common.rpc.deadlines import time_remaining
from services.common.rpc.remote import RemoteError, remote_errors
from services.common.rpc.server import serving
from tests.support.probe import Answer, Ask, Probe, ProbeStub
from tests.support.tracing import collected_spans, spans_when

pytestmark = pytest.mark.usefixtures("both_servers")


@asynccontextmanager
async def connected(probe, **options):
    async with (
        serving("probe", "127.0.0.1:0", [probe.api()]) as server,
        connect(f"127.0.0.1:{server.port}", **options) as channel,
    ):
        yield ProbeStub(channel)


async def requests_of(*messages):
    for message in messages:
        yield message


def calls_of(stub):
    """What starts a call of each arity and waits for its first answer."""
    return {
        "ask": lambda: stub.ask(Ask(text="a")),
        "list": lambda: anext(aiter(stub.list(Ask(text="a")))),
        "watch": lambda: anext(aiter(stub.watch(Ask(text="a")))),
        "upload": lambda: stub.upload(requests_of(Ask(text="a"))),
        "chat": lambda: anext(aiter(stub.chat(requests_of(Ask(text="a"))))),
    }


def reporting(report):
    """A probe whose every method answers with `report()`."""

    async def once(request, context):
        return Answer(text=report())

    async def stream(request, context):
        yield Answer(text=report())

    return Probe(ask=once, list=stream, watch=stream, upload=once, chat=stream)


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


async def test_causality_goes_along_with_calls_of_every_arity():
    def report():
        return f"{causality().correlation_id}/{causality().causation_id}"

    async with connected(reporting(report)) as stub:
        for name, start in calls_of(stub).items():
            with caused_by("episode-1", "event-1"):
                assert (await start()).text == "episode-1/event-1", name
            assert (await start()).text == "/", name


async def test_causality_and_deadline_cross_two_servers():
    back = reporting(lambda: f"{causality().correlation_id} {time_remaining()}")
    async with connected(back, timeout_s=100) as behind:

        async def forward(request, context):
            return await behind.ask(Ask(text="b"))

        async with connected(Probe(ask=forward)) as stub:
            with caused_by("episode-2"):
                answer = await stub.ask(Ask(text="a"), timeout=7)
    correlation_id, remaining = answer.text.split()
    assert correlation_id == "episode-2"
    assert 0 < float(remaining) < 8


@pytest.mark.parametrize("arity", ["list", "watch", "chat"])
async def test_a_stream_inherits_the_deadline_of_the_call_it_serves_and_has_none_otherwise(arity):
    async with connected(reporting(lambda: str(time_remaining()))) as behind:

        async def forward(request, context):
            return await calls_of(behind)[arity]()

        async with connected(Probe(ask=forward)) as stub:
            inherited = await stub.ask(Ask(text="a"), timeout=7)
        assert 0 < float(inherited.text) < 8
        assert (await calls_of(behind)[arity]()).text == "None"


async def test_a_call_has_the_channel_s_timeout_unless_it_gives_its_own():
    async with connected(reporting(lambda: str(time_remaining())), timeout_s=30) as stub:
        assert 20 < float((await stub.ask(Ask(text="a"))).text) < 32
        assert 0 < float((await stub.ask(Ask(text="a"), timeout=5)).text) < 6


async def test_a_trace_crosses_two_servers():
    with collected_spans() as exporter:
        async with connected(Probe()) as behind:

            async def forward(request, context):
                (answer,) = [answer async for answer in behind.list(Ask(text="b"))]
                return answer

            async with connected(Probe(ask=forward)) as stub:
                await stub.ask(Ask(text="a"))
                spans = await spans_when(exporter, lambda seen: len(seen) == 4)
    by_id = {span.context.span_id: span for span in spans}
    (leaf,) = [span for span in spans if span.kind is SpanKind.SERVER and "List" in span.name]
    chain = [leaf]
    while chain[-1].parent is not None:
        chain.append(by_id[chain[-1].parent.span_id])
    assert [span.kind for span in chain] == [
        SpanKind.SERVER, SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CLIENT,
    ]  # fmt: skip
    assert len({span.context.trace_id for span in spans}) == 1
    assert {span.attributes["rpc.grpc.status_code"] for span in spans} == {0}


async def test_client_spans_of_every_arity_end_with_the_call_s_code():
    async def once(request, context):
        raise ModelNotFound("No.")

    async def stream(request, context):
        raise ModelNotFound("No.")
        yield

    failing = Probe(ask=once, list=stream, watch=stream, upload=once, chat=stream)
    with collected_spans() as exporter:
        async with connected(failing) as stub:
            for start in calls_of(stub).values():
                with pytest.raises(grpc.aio.AioRpcError):
                    await start()
            spans = await spans_when(exporter, lambda seen: len(seen) == 10)
    codes = [(span.kind, span.attributes["rpc.grpc.status_code"]) for span in spans]
    assert sorted(set(codes), key=str) == [(SpanKind.CLIENT, 5), (SpanKind.SERVER, 5)]


async def test_a_failure_becomes_a_remote_error_with_reason_and_metadata():
    async def ask(request, context):
        raise ModelNotFound("No model 'm'.", name="m")

    async with connected(Probe(ask=ask)) as stub:
        with pytest.raises(RemoteError) as caught, remote_errors("registry"):
            await stub.ask(Ask(text="a"))
    error = caught.value
    assert (error.peer, error.code) == ("registry", grpc.StatusCode.NOT_FOUND)
    assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"name": "m"})
    assert error.message == "No model 'm'."


async def test_a_peer_that_is_not_there_is_unavailable_without_a_reason():
    async with serving("probe", "127.0.0.1:0", [Probe().api()]) as server:
        address = f"127.0.0.1:{server.port}"
    async with connect(address) as channel:
        with pytest.raises(RemoteError) as caught, remote_errors("registry"):
            await ProbeStub(channel).ask(Ask(text="a"))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_a_stream_that_grpc_gave_up_while_it_was_sent_is_unavailable():
    async def broken():
        yield Ask(text="a")
        raise asyncio.InvalidStateError  # as grpc.aio itself does where a stream is lost

    async with connected(Probe()) as stub:
        with pytest.raises(RemoteError) as caught, remote_errors("registry"):
            await stub.upload(broken())
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_a_caller_that_is_cancelled_stays_cancelled():
    waiting = asyncio.Event()

    async def ask(request, context):
        waiting.set()
        await asyncio.Event().wait()

    async def call(stub):
        with remote_errors("registry"):
            await stub.ask(Ask(text="a"))

    async with connected(Probe(ask=ask)) as stub:
        calling = asyncio.create_task(call(stub))
        await waiting.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call(stub)


async def test_only_unavailable_is_tried_again():
    class Away(Unavailable):
        reason = "AWAY"

    tries = []

    def failing(error, times):
        async def ask(request, context):
            tries.append(error)
            if len(tries) <= times:
                raise error
            return Answer(text="at last")

        return Probe(ask=ask)

    async with connected(failing(Away("Away.", retry_after_s=0), 2)) as stub:
        assert (await stub.ask(Ask(text="a"))).text == "at last"
    assert len(tries) == 3
    tries.clear()
    async with connected(failing(ModelNotFound("No."), 1)) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ask(Ask(text="a"))
    assert len(tries) == 1


async def test_a_cancelled_call_is_cancelled_at_both_servers():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def ask(request, context):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with connected(Probe(ask=ask)) as behind:

        async def forward(request, context):
            return await behind.ask(Ask(text="b"))

        async with connected(Probe(ask=forward)) as stub:
            call = stub.ask(Ask(text="a"), timeout=20)
            await asyncio.wait_for(started.wait(), 5)
            call.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_client_stream_can_be_written_message_by_message():
    async with connected(Probe()) as stub:
        call = stub.upload()
        for text in "abc":
            await call.write(Ask(text=text))
        await call.done_writing()
        assert (await call).text == "abc"
