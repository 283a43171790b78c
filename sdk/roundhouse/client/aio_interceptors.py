"""Deadlines, request ids, repeats and typed errors for every call of an asyncio channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc import aio
from roundhouse.client import policy
from roundhouse.client.errors import from_rpc_error, typed_errors


def _with_timeout(details: aio.ClientCallDetails, timeout_s: float | None) -> aio.ClientCallDetails:
    return aio.ClientCallDetails(
        details.method, timeout_s, details.metadata, details.credentials, details.wait_for_ready
    )


def _path(details: aio.ClientCallDetails) -> str:
    method: str | bytes = details.method
    return method.decode() if isinstance(method, bytes) else method


class UnaryCalls(aio.UnaryUnaryClientInterceptor):
    """Gives unary calls their deadline and request id, and repeats those that may be repeated."""

    def __init__(self, timeouts: policy.Timeouts) -> None:
        self._timeouts = timeouts

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,  # each method has its own message
    ) -> Any:  # the finished call
        """Waits until the call is over; a failed one raises its typed error."""
        timeout_s = client_call_details.timeout or self._timeouts.unary_s
        request = policy.with_request_id(request)
        deadline = time.monotonic() + timeout_s
        waits = policy.delays_s(min(deadline, time.monotonic() + self._timeouts.away_s))
        while True:
            details = _with_timeout(client_call_details, max(deadline - time.monotonic(), 0.001))
            call = await continuation(details, request)
            try:
                await call
            except grpc.RpcError as error:
                away = await call.code() is grpc.StatusCode.UNAVAILABLE
                repeatable = away and policy.may_repeat(_path(client_call_details), request)
                wait_s = next(waits, None) if repeatable else None
                if wait_s is None:
                    raise from_rpc_error(error) from error
            else:
                return call
            await asyncio.sleep(wait_s)


class ResponseStreams(aio.UnaryStreamClientInterceptor):
    """Gives streams that have an end their deadline, and all of them typed errors."""

    def __init__(self, timeouts: policy.Timeouts) -> None:
        self._timeouts = timeouts

    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,  # each method has its own message
    ) -> AsyncIterator[Any]:
        """Starts the stream."""
        timeout_s = client_call_details.timeout
        if timeout_s is None and not policy.follows(_path(client_call_details)):
            timeout_s = self._timeouts.transfer_s
        call = await continuation(_with_timeout(client_call_details, timeout_s), request)
        return _typed(call)


async def _typed(call: Any) -> AsyncIterator[Any]:
    with typed_errors():
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()
