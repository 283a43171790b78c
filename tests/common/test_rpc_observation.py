from __future__ import annotations

import asyncio

import grpc
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from services.common.errors import NotFound
from services.common.rpc.tracing import current_span_context, format_traceparent, parse_traceparent
from tests.support.probe import SERVICE, Answer, Ask, Probe, probing
from tests.support.tracing import collected_spans, spans_when

pytestmark = pytest.mark.usefixtures("both_servers")

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


def count_of(method, code):
    labels = {"method": f"/{SERVICE}/{method}", "code": code}
    return REGISTRY.get_sample_value("rpc_server_duration_seconds_count", labels) or 0.0


async def counted(method, code, before):
    async with asyncio.timeout(20):
        while count_of(method, code) != before + 1:
            await asyncio.sleep(0.005)


def raising(error):
    async def once(request, context):
        raise error

    async def stream(request, context):
        yield Answer(text="first")
        raise error

    return Probe(ask=once, list=stream)


async def drained(stream):
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    ("error", "code"), [(ModelNotFound("No."), "NOT_FOUND"), (KeyError("bug"), "INTERNAL")]
)
async def test_failures_count_under_their_own_code(error, code):
    async with probing(raising(error)) as (stub, _):
        for method, start in (
            ("Ask", lambda: stub.ask(Ask(text="a"), timeout=5)),
            ("List", lambda: drained(stub.list(Ask(text="a"), timeout=5))),
        ):
            before = count_of(method, code)
            with pytest.raises(grpc.aio.AioRpcError):
                await start()
            await counted(method, code, before)


async def test_success_counts_as_ok():
    async with probing(Probe()) as (stub, _):
        before = count_of("Ask", "OK")
        await stub.ask(Ask(text="a"), timeout=5)
        await counted("Ask", "OK", before)


@pytest.mark.parametrize(("timeout_s", "code"), [(1, "DEADLINE_EXCEEDED"), (20, "CANCELLED")])
async def test_a_call_given_up_counts_by_why_it_was(timeout_s, code):
    started = asyncio.Event()

    async def ask(request, context):
        started.set()
        await asyncio.Event().wait()

    before = count_of("Ask", code)
    async with probing(Probe(ask=ask)) as (stub, _):
        call = stub.ask(Ask(text="a"), timeout=timeout_s)
        await asyncio.wait_for(started.wait(), 20)
        if code == "CANCELLED":
            call.cancel()
        await counted("Ask", code, before)


async def test_a_span_continues_the_caller_s_trace_and_names_method_and_code():
    with collected_spans() as exporter:
        async with probing(raising(KeyError("bug"))) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ask(Ask(text="a"), timeout=5, metadata=(("traceparent", SAMPLED),))
            (span,) = await spans_when(exporter, lambda seen: len(seen) == 1)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert (span.name, span.kind) == (f"{SERVICE}/Ask", SpanKind.SERVER)
    assert span.attributes["rpc.service"] == SERVICE
    assert span.attributes["rpc.method"] == "Ask"
    assert span.attributes["rpc.grpc.status_code"] == 13
    assert span.status.status_code is StatusCode.ERROR


async def test_a_caller_s_fault_is_no_error_of_the_server_s_span():
    with collected_spans() as exporter:
        async with probing(raising(ModelNotFound("No."))) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ask(Ask(text="a"), timeout=5)
            (span,) = await spans_when(exporter, lambda seen: len(seen) == 1)
    assert span.attributes["rpc.grpc.status_code"] == 5
    assert span.status.status_code is StatusCode.UNSET


async def test_an_unsampled_trace_makes_no_span_but_is_passed_on():
    async def ask(request, context):
        return Answer(text=format_traceparent(current_span_context()))

    with collected_spans() as exporter:
        async with probing(Probe(ask=ask)) as (stub, _):
            metadata = (("traceparent", UNSAMPLED),)
            answer = await stub.ask(Ask(text="a"), timeout=5, metadata=metadata)
        assert exporter.get_finished_spans() == ()
    assert answer.text == UNSAMPLED


async def test_durations_carry_the_trace_as_exemplar():
    with collected_spans():
        async with probing(Probe()) as (stub, _):
            before = count_of("Ask", "OK")
            await stub.ask(Ask(text="a"), timeout=5, metadata=(("traceparent", SAMPLED),))
            await counted("Ask", "OK", before)
    assert f'trace_id="{TRACE}"' in generate_latest(REGISTRY).decode()


def test_a_traceparent_comes_back_as_it_was():
    assert format_traceparent(parse_traceparent(SAMPLED)) == SAMPLED


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00-short-b7ad6b7169203331-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-b7ad6b716920333z-01",
    ],
)
async def test_a_broken_traceparent_is_ignored(value):
    assert parse_traceparent(value) is None
    async with probing(Probe()) as (stub, _):
        metadata = (("traceparent", value),) if value else ()
        assert (await stub.ask(Ask(text="a"), timeout=5, metadata=metadata)).text == "a"
