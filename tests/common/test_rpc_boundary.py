from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    RetryInfo,
)
from structlog.testing import capture_logs

from services.common.causality import causality
from services.common.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    Unavailable,
)
from services.common.rpc.deadlines import time_remaining
from services.common.rpc.remote import RemoteError
from services.common.rpc.server import ServerLimits
from tests.support.probe import SERVICE, Answer, Ask, Note, Probe, details_of, info_of, probing

pytestmark = pytest.mark.usefixtures("both_servers")


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


async def requests_of(*messages):
    for message in messages:
        yield message


def raising(error):
    async def once(request, context):
        raise error

    async def stream(request, context):
        yield Answer(text="first")
        raise error

    return Probe(ask=once, list=stream, watch=stream, upload=once, chat=stream)


async def failure(call):
    async def finish():
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finish()
    return caught.value


def calls_of(stub):
    """What starts a call of each arity."""
    return {
        "ask": lambda: stub.ask(Ask(text="a"), timeout=5),
        "list": lambda: stub.list(Ask(text="a"), timeout=5),
        "watch": lambda: stub.watch(Ask(text="a"), timeout=5),
        "upload": lambda: stub.upload(requests_of(Ask(text="a")), timeout=5),
        "chat": lambda: stub.chat(requests_of(Ask(text="a")), timeout=5),
    }


async def test_a_service_error_gives_code_reason_domain_and_metadata_for_every_arity():
    error = ModelNotFound("No model 'm'.", name="m")
    async with probing(raising(error), service="registry") as (stub, _):
        for start in calls_of(stub).values():
            seen = await failure(start())
            assert seen.code() is grpc.StatusCode.NOT_FOUND
            assert seen.details() == "No model 'm'."
            assert info_of(seen) == ("MODEL_NOT_FOUND", "registry.roundhouse.dev", {"name": "m"})


async def test_a_bug_gives_internal_with_a_logged_id_and_without_its_text_for_every_arity():
    async with probing(raising(KeyError("secret"))) as (stub, _):
        for name, start in calls_of(stub).items():
            with capture_logs() as logs:
                seen = await failure(start())
            reason, domain, metadata = info_of(seen)
            assert (seen.code(), reason) == (grpc.StatusCode.INTERNAL, "INTERNAL"), name
            assert domain == "probe.roundhouse.dev"
            assert "secret" not in str(seen.details())
            logged = [line for line in logs if line["event"] == "rpc.failed"]
            assert [line["error_id"] for line in logged] == [metadata["error_id"]]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (Conflict, grpc.StatusCode.ABORTED),
        (DataLoss, grpc.StatusCode.DATA_LOSS),
        (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
        (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
async def test_each_kind_has_its_code(kind, code):
    error = type("Specific", (kind,), {"reason": "SPECIFIC"})("It failed.")
    async with probing(raising(error)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    assert (seen.code(), info_of(seen)[0]) == (code, "SPECIFIC")


async def test_an_invalid_argument_names_its_fields():
    class BadSpec(InvalidArgument):
        reason = "BAD_SPEC"

    error = BadSpec("Bad.", violations=[FieldViolation("spec.seeds[1]", "twice")])
    async with probing(raising(error)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    assert seen.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = details_of(seen)[BadRequest].field_violations
    assert [(v.field, v.description) for v in bad] == [("spec.seeds[1]", "twice")]


async def test_a_failed_precondition_names_its_conditions():
    class GateClosed(FailedPrecondition):
        reason = "GATE_CLOSED"

    error = GateClosed("No.", violations=[PreconditionViolation("GATE", "auc", "0.6 < 0.7")])
    async with probing(raising(error)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    assert seen.code() is grpc.StatusCode.FAILED_PRECONDITION
    failed = details_of(seen)[PreconditionFailure].violations
    assert [(v.type, v.subject, v.description) for v in failed] == [("GATE", "auc", "0.6 < 0.7")]


@pytest.mark.parametrize("retry_after_s", [None, 2.5])
async def test_an_exhausted_resource_says_what_and_when_to_retry_only_if_waiting_helps(
    retry_after_s,
):
    class Full(ResourceExhausted):
        reason = "FULL"

    error = Full("Full.", subject="queue", retry_after_s=retry_after_s)
    async with probing(raising(error)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    details = details_of(seen)
    assert seen.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [v.subject for v in details[QuotaFailure].violations] == ["queue"]
    if retry_after_s is None:
        assert RetryInfo not in details
    else:
        assert details[RetryInfo].retry_delay.ToTimedelta().total_seconds() == retry_after_s


async def test_an_unavailable_dependency_says_when_to_retry():
    class Away(Unavailable):
        reason = "AWAY"

    async with probing(raising(Away("Away.", retry_after_s=3.0))) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    assert seen.code() is grpc.StatusCode.UNAVAILABLE
    assert details_of(seen)[RetryInfo].retry_delay.seconds == 3


@pytest.mark.parametrize(
    ("peer_code", "code", "reason"),
    [
        ("UNAVAILABLE", "UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "DEPENDENCY_TIMEOUT"),
        ("NOT_FOUND", "INTERNAL", "INTERNAL"),
    ],
)
async def test_a_peers_failure_without_a_meaning_is_passed_on_only_if_waiting_may_help(
    peer_code, code, reason
):
    error = RemoteError("registry", grpc.StatusCode[peer_code])
    async with probing(raising(error)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=5))
    found, _, metadata = info_of(seen)
    assert (seen.code().name, found) == (code, reason)
    assert metadata.get("dependency", "registry") == "registry"


async def test_every_broken_rule_is_named_with_its_full_path():
    request = Ask(notes=[Note(), Note(text="too long a text")], by_key={"k": Note(text="x" * 9)})
    async with probing(Probe()) as (stub, _):
        for call in (stub.ask(request, timeout=5), stub.list(request, timeout=5)):
            seen = await failure(call)
            assert seen.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert info_of(seen)[0] == "INVALID_REQUEST"
            fields = {v.field for v in details_of(seen)[BadRequest].field_violations}
            assert fields == {"text", "notes[1].text", 'by_key["k"].text'}


async def test_each_message_of_a_stream_is_checked_and_those_before_are_used():
    served = []

    async def chat(requests, context):
        async for request in requests:
            served.append(request.text)
            yield Answer(text=request.text)

    messages = (Ask(text="good"), Ask(text=""), Ask(text="never"))
    async with probing(Probe(chat=chat)) as (stub, _):
        seen = await failure(stub.chat(requests_of(*messages)))
        assert info_of(seen)[0] == "INVALID_REQUEST"
        assert served == ["good"]
        seen = await failure(stub.upload(requests_of(*messages)))
        assert [v.field for v in details_of(seen)[BadRequest].field_violations] == ["text"]


async def test_a_unary_call_without_a_deadline_is_refused_and_others_are_not():
    async with probing(Probe()) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a")))
        assert seen.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert info_of(seen)[0] == "DEADLINE_REQUIRED"
        assert info_of(seen)[2] == {"method": f"/{SERVICE}/Ask"}
        assert [item.text async for item in stub.list(Ask(text="a"))] == ["a"]
        assert (await stub.upload(requests_of(Ask(text="a"), Ask(text="b")))).text == "ab"


async def test_an_exempt_service_needs_no_deadline():
    limits = ServerLimits(deadline_exempt=(f"/{SERVICE}/",))
    async with probing(Probe(), limits=limits) as (stub, _):
        assert (await stub.ask(Ask(text="a"))).text == "a"


async def test_the_handler_sees_the_time_left_and_the_causality_of_its_own_call_only():
    async def ask(request, context):
        remaining = time_remaining()
        assert remaining is not None
        assert 0 < remaining < 21  # gRPC rounds timeouts up on the wire
        origin = causality()
        return Answer(text=f"{origin.correlation_id}/{origin.causation_id}")

    metadata = (("x-correlation-id", "episode-1"), ("x-causation-id", "event-1"))
    async with probing(Probe(ask=ask)) as (stub, _):
        first = await stub.ask(Ask(text="a"), timeout=20, metadata=metadata)
        second = await stub.ask(Ask(text="a"), timeout=20)
    assert (first.text, second.text) == ("episode-1/event-1", "/")


async def test_a_cancelled_call_ends_its_handler_with_cleanup():
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def watch(request, context):
        try:
            yield Answer(text="first")
            started.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with probing(Probe(watch=watch)) as (stub, _):
        call = stub.watch(Ask(text="a"))
        assert (await anext(aiter(call))).text == "first"
        await asyncio.wait_for(started.wait(), 5)
        call.cancel()
        await asyncio.wait_for(cleaned.wait(), 5)


async def test_a_passed_deadline_cancels_the_handler():
    cancelled = asyncio.Event()

    async def ask(request, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with probing(Probe(ask=ask)) as (stub, _):
        seen = await failure(stub.ask(Ask(text="a"), timeout=0.1))
        assert seen.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_client_that_is_still_sending_gets_the_reason_of_its_refusal():
    async def refuse(requests, context):
        await anext(aiter(requests))
        raise ModelNotFound("No model 'm'.", name="m")

    async def many():
        for _ in range(200):
            yield Ask(text="a")
            await asyncio.sleep(0)

    async with probing(Probe(upload=refuse)) as (stub, _):
        for _ in range(20):
            seen = await failure(stub.upload(many(), timeout=5))
            assert seen.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_that_never_stops_sending_is_refused_all_the_same():
    async def refuse(requests, context):
        raise ModelNotFound("No model 'm'.", name="m")

    async def endless():
        while True:
            yield Ask(text="a")
            await asyncio.sleep(0.01)

    async with probing(Probe(upload=refuse)) as (stub, _):
        started = asyncio.get_running_loop().time()
        await failure(stub.upload(endless(), timeout=10))
        assert asyncio.get_running_loop().time() - started < 5


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument(
            "x" * 100_000,
            violations=[FieldViolation(f"field{i}", "é" * i) for i in range(2000)],
            given="y" * 100_000,
        ),
        FailedPrecondition(
            "x" * 100_000,
            violations=[PreconditionViolation("GATE", "s" * 5000, "d" * 5000) for _ in range(100)],
        ),
        ResourceExhausted("é" * 100_000, subject="s"),
    ],
    ids=["bad_request", "precondition", "quota"],
)
async def test_an_error_of_any_size_reaches_the_client_whole(error):
    error.reason = "LARGE"
    async with probing(raising(error), service="registry") as (stub, _):
        got = await failure(stub.ask(Ask(text="a"), timeout=5))
    assert details_of(got)[ErrorInfo].reason == "LARGE"
    assert got.details().endswith("…")
    size_bytes = sum(len(value) for _, value in got.trailing_metadata())
    assert size_bytes < 4500


async def test_of_many_wrong_fields_the_first_are_named_and_the_rest_counted():
    violations = [FieldViolation(f"field{i}", "is wrong " * 10) for i in range(200)]
    error = InvalidArgument("Much is wrong.", violations=violations)
    error.reason = "LARGE"
    async with probing(raising(error), service="registry") as (stub, _):
        got = await failure(stub.ask(Ask(text="a"), timeout=5))
    *named, last = details_of(got)[BadRequest].field_violations
    assert [each.field for each in named] == [f"field{i}" for i in range(len(named))]
    assert last.description == f"{200 - len(named)} more fields are wrong"
