"""Deadlines, request ids, repeats and typed errors for every call of a synchronous channel."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from roundhouse.client import policy
from roundhouse.client.errors import from_rpc_error, typed_errors

_DetailsTuple = collections.namedtuple(
    "_DetailsTuple",
    ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"),
)


class _Details(_DetailsTuple, grpc.ClientCallDetails):
    """Call details with another timeout; gRPC reads them by attribute."""


def _with_timeout(details: grpc.ClientCallDetails, timeout_s: float | None) -> _Details:
    return _Details(
        details.method,
        timeout_s,
        details.metadata,
        details.credentials,
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )


class UnaryCalls(grpc.UnaryUnaryClientInterceptor):
    """Gives unary calls their deadline and request id, and repeats those that may be repeated."""

    def __init__(self, timeouts: policy.Timeouts) -> None:
        self._timeouts = timeouts

    def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,  # each method has its own message
    ) -> Any:  # a grpc.Call and a grpc.Future in one, which has no name
        """Blocks until the call is over; a failed one raises its typed error."""
        timeout_s = client_call_details.timeout or self._timeouts.unary_s
        request = policy.with_request_id(request)
        deadline = time.monotonic() + timeout_s
        waits = policy.delays_s(min(deadline, time.monotonic() + self._timeouts.away_s))
        while True:
            details = _with_timeout(client_call_details, max(deadline - time.monotonic(), 0.001))
            call = continuation(details, request)
            if call.code() is grpc.StatusCode.OK:
                return call
            failed = call.exception()
            away = call.code() is grpc.StatusCode.UNAVAILABLE
            if not away or not policy.may_repeat(client_call_details.method, request):
                raise from_rpc_error(failed) from failed
            wait_s = next(waits, None)
            if wait_s is None:
                raise from_rpc_error(failed) from failed
            time.sleep(wait_s)


class ResponseStream:
    """The responses of one call, with typed errors."""

    def __init__(self, call: Any) -> None:  # iterator and grpc.Call in one, which has no name
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with typed_errors():
            return next(self._call)

    def cancel(self) -> bool:
        """Ends the stream from this side."""
        cancelled: bool = self._call.cancel()
        return cancelled


class ResponseStreams(grpc.UnaryStreamClientInterceptor):
    """Gives streams that have an end their deadline, and all of them typed errors."""

    def __init__(self, timeouts: policy.Timeouts) -> None:
        self._timeouts = timeouts

    def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,  # each method has its own message
    ) -> Any:  # a ResponseStream, in the place of gRPC's own
        """Starts the stream."""
        timeout_s = client_call_details.timeout
        if timeout_s is None and not policy.follows(client_call_details.method):
            timeout_s = self._timeouts.transfer_s
        return ResponseStream(continuation(_with_timeout(client_call_details, timeout_s), request))


def intercepted(channel: grpc.Channel, timeouts: policy.Timeouts) -> grpc.Channel:
    """The channel, with all of it."""
    return grpc.intercept_channel(channel, UnaryCalls(timeouts), ResponseStreams(timeouts))
