"""A span and a duration for every call.

Written by hand because OpenTelemetry's contrib interceptor for grpc.aio costs several
times as much per call and reports errors of streams as OK.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import cache
from types import TracebackType
from typing import Any, Final

import grpc
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    StatusCode,
)
from prometheus_client import Histogram

from services.common.rpc.conventions import (
    GRPC_SYSTEM,
    RPC_METHOD,
    RPC_SERVICE,
    RPC_STATUS_CODE,
    RPC_SYSTEM,
    SERVER_DURATION_BUCKETS_S,
    SERVER_DURATION_METRIC,
    TRACEPARENT,
    split_method,
)
from services.common.rpc.interceptors.arity import Behavior, Handler, rewrapped
from services.common.rpc.interceptors.wrapping import WrappingInterceptor
from services.common.rpc.tracing import (
    adopt,
    adopt_unsampled,
    parse_traceparent,
    start_server_span,
)

SERVER_DURATION: Final = Histogram(
    SERVER_DURATION_METRIC,
    "Seconds from a call's arrival to its status; a stream's whole life.",
    ["method", "code"],
    buckets=SERVER_DURATION_BUCKETS_S,
)

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_DEADLINE_SLACK_S: Final = 0.1

# Codes that are the server's fault, after OpenTelemetry's semantic conventions for gRPC.
_SERVER_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class ObservationInterceptor(WrappingInterceptor):
    """Measures every call but health and reflection; must be the outermost interceptor."""

    def _wrap(self, path: str, handler: Handler) -> Handler:
        def respond_once(behavior: Behavior) -> Behavior:
            async def call(request: Any, context: Any) -> Any:
                with _Observed(path, context):
                    return await behavior(request, context)

            return call

        def respond_in_stream(behavior: Behavior) -> Behavior:
            async def call(request: Any, context: Any) -> AsyncIterator[Any]:
                with _Observed(path, context):
                    async with aclosing(behavior(request, context)) as responses:
                        async for response in responses:
                            yield response

            return call

        return rewrapped(handler, respond_once=respond_once, respond_in_stream=respond_in_stream)


class _Observed:
    """One call, from its arrival to its status."""

    __slots__ = ("_context", "_path", "_span", "_started")

    def __init__(self, path: str, context: Any) -> None:
        self._path = path
        self._context = context
        self._span: Span = INVALID_SPAN
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._span = _start_span(self._path, self._context)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        elapsed = time.perf_counter() - self._started
        code = _code(error, self._context, elapsed)
        exemplar = None
        if self._span.is_recording():
            self._span.set_attribute(RPC_STATUS_CODE, code.value[0])
            if code in _SERVER_FAULTS:
                self._span.set_status(StatusCode.ERROR, self._context.details() or code.name)
            self._span.end()
            exemplar = {"trace_id": f"{self._span.get_span_context().trace_id:032x}"}
        _duration(self._path, code.name).observe(elapsed, exemplar)


def _start_span(path: str, context: Any) -> Span:
    parent = None
    for key, value in context.invocation_metadata():
        if key == TRACEPARENT:
            parent = parse_traceparent(value)
            break
    if parent is not None and not parent.trace_flags.sampled:
        adopt_unsampled(parent)
        return INVALID_SPAN
    name, attributes = _described(path)
    span = start_server_span(name, parent, attributes)
    adopt(span)
    return span


@cache
def _described(path: str) -> tuple[str, Mapping[str, str]]:
    """A span's name and attributes; only paths that are served come here."""
    service, method = split_method(path)
    return f"{service}/{method}", {
        RPC_SYSTEM: GRPC_SYSTEM,
        RPC_SERVICE: service,
        RPC_METHOD: method,
    }


@cache
def _duration(path: str, code: str) -> Histogram:
    """The path's child; prometheus_client's own lookup costs as much as the observation."""
    return SERVER_DURATION.labels(path, code)


def _code(error: BaseException | None, context: Any, elapsed_s: float) -> grpc.StatusCode:
    match error:
        case None | grpc.aio.AbortError():
            # grpc.aio gives what was set: None or 0, a number, or the enum's member.
            code = context.code()
            return code if isinstance(code, grpc.StatusCode) else _CODES[code or 0]
        case asyncio.CancelledError() | GeneratorExit():
            # The server sees a deadline pass as a cancellation, which the client, whose clock
            # began earlier, may send before the time is up here.
            remaining = context.time_remaining()
            expired = remaining is not None and remaining <= min(
                _DEADLINE_SLACK_S, (elapsed_s + remaining) / 10
            )
            return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
        case _:
            return grpc.StatusCode.UNKNOWN
