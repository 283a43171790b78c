"""Channels to other services: deadlines, causality and traces go along; safe retries."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc

from services.common.rpc.outgoing import OutgoingCalls

# gRPC types calls by their messages; an interceptor sees those of every method.
_Call: TypeAlias = Any
_Continuation: TypeAlias = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[_Call]]

DEFAULT_TIMEOUT_S: Final = 10.0
"""Longest unary call that asks for no other; a transaction and its disk sync take far less."""

# Every mutation is idempotent by its request id, so each method may be repeated.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def connect(
    address: str,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_message_bytes: int = 4 * 2**20,
) -> grpc.aio.Channel:
    """A channel to the service at `address`, which need not be up yet.

    Every call carries the running task's causality and trace, and ends no later than the
    call that the task serves. UNAVAILABLE is retried with backoff within the deadline.
    Wrap calls in `services.common.rpc.remote.remote_errors`.

    Args:
        address: `host:port`.
        timeout_s: Of calls with one response, unless the call gives its own; streams of
            responses have none of their own.
        max_message_bytes: Of one request or response.
    """
    calls = OutgoingCalls(address)
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.enable_retries", 1),
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A peer that restarts is found again within a second or two.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            # Peers are addressed directly; an HTTP proxy of the environment can't reach them.
            ("grpc.enable_http_proxy", 0),
        ],
        interceptors=[
            _UnaryUnary(calls, timeout_s),
            _UnaryStream(calls, None),
            _StreamUnary(calls, timeout_s),
            _StreamStream(calls, None),
        ],
    )


class _Interceptor:
    def __init__(self, calls: OutgoingCalls, timeout_s: float | None) -> None:
        self._calls = calls
        self._timeout_s = timeout_s

    async def _start(
        self, continuation: _Continuation, details: grpc.aio.ClientCallDetails, request: Any
    ) -> _Call:
        return await self._calls.start(continuation, details, request, self._timeout_s)


# grpc.aio takes an interceptor for the first of these kinds that it is an instance of.
class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self,
        continuation: _Continuation,
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> _Call:
        return await self._start(continuation, client_call_details, request)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self,
        continuation: _Continuation,
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> _Call:
        return await self._start(continuation, client_call_details, request)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: _Continuation,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> _Call:
        return await self._start(continuation, client_call_details, request_iterator)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: _Continuation,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> _Call:
        return await self._start(continuation, client_call_details, request_iterator)
