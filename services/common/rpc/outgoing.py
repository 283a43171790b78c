"""What every outgoing call takes along: causality, the trace, what is left of the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode

from services.common.causality import CAUSATION_METADATA, CORRELATION_METADATA, causality
from services.common.rpc.conventions import (
    GRPC_SYSTEM,
    RPC_METHOD,
    RPC_SERVICE,
    RPC_STATUS_CODE,
    RPC_SYSTEM,
    SERVER_ADDRESS,
    TRACEPARENT,
    split_method,
)
from services.common.rpc.deadlines import timeout_for
from services.common.rpc.tracing import current_span_context, format_traceparent, tracer


class OutgoingCalls:
    """Starts calls to one peer.

    Args:
        address: Of the peer, for the spans.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._endings: set[asyncio.Task[None]] = set()

    async def start(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        details: grpc.aio.ClientCallDetails,
        request: Any,
        timeout_s: float | None,
    ) -> Any:
        """The started call; its span ends when the call does.

        Args:
            continuation: gRPC's next step.
            details: As the caller gave them.
            request: A message, or an iterator of them.
            timeout_s: Of the call if its caller gave none.
        """
        parent = current_span_context()
        if parent.is_valid and not parent.trace_flags.sampled:
            return await continuation(self._completed(details, parent, timeout_s), request)
        span = self._start_span(details.method)
        try:
            call = await continuation(
                self._completed(details, span.get_span_context(), timeout_s), request
            )
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            span.end()
            raise
        if span.is_recording():
            call.add_done_callback(lambda done: self._end_soon(span, done))
        return call

    def _start_span(self, method: str | bytes) -> Span:
        path = method.decode() if isinstance(method, bytes) else method
        service, name = split_method(path)
        return tracer().start_span(
            f"{service}/{name}",
            kind=SpanKind.CLIENT,
            attributes={
                RPC_SYSTEM: GRPC_SYSTEM,
                RPC_SERVICE: service,
                RPC_METHOD: name,
                SERVER_ADDRESS: self._address,
            },
        )

    def _completed(
        self, details: grpc.aio.ClientCallDetails, span: SpanContext, timeout_s: float | None
    ) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        if span.is_valid:
            metadata[TRACEPARENT] = format_traceparent(span)
        origin = causality()
        for key, value in (
            (CORRELATION_METADATA, origin.correlation_id),
            (CAUSATION_METADATA, origin.causation_id),
        ):
            if value and metadata.get(key) is None:
                metadata[key] = value
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=timeout_for(timeout_s if details.timeout is None else details.timeout),
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )

    def _end_soon(self, span: Span, call: grpc.aio.Call) -> None:
        # A call gives its status to coroutines only.
        ending = asyncio.get_running_loop().create_task(_end(span, call, time.time_ns()))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


async def _end(span: Span, call: grpc.aio.Call, end_time_ns: int) -> None:
    code = await call.code()
    span.set_attribute(RPC_STATUS_CODE, code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(StatusCode.ERROR, code.name)
    span.end(end_time_ns)
