"""The one place where calls are admitted and failures become statuses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from services.common.causality import (
    CAUSATION_METADATA,
    CORRELATION_METADATA,
    NO_CAUSALITY,
    Causality,
    set_causality,
)
from services.common.errors import DataLoss, ServiceError
from services.common.rpc.conventions import FOLLOWING_METHOD_PREFIXES, split_method
from services.common.rpc.deadlines import set_time_remaining
from services.common.rpc.drain import Drain
from services.common.rpc.interceptors.arity import Behavior, Handler, rewrapped
from services.common.rpc.interceptors.validation import RequestValidator
from services.common.rpc.interceptors.wrapping import WrappingInterceptor
from services.common.rpc.remote import RemoteError, as_own_failure
from services.common.rpc.status import DeadlineRequired, status_of, status_of_bug

log = structlog.get_logger()

READ_ON_LIMIT_S = 1.0
READ_ON_LIMIT_BYTES = 16 * 2**20


class BoundaryInterceptor(WrappingInterceptor):
    """Asks for deadlines, checks proto rules, and turns failures into statuses.

    An exception that is no `ServiceError` is a bug: it is logged with its trace under
    an error id, and the client gets INTERNAL with that id and without the text, which
    could hold data of another caller.

    Args:
        service: Such as `registry`; the domain of its errors.
        drain: Ends the streams of methods that follow something.
        deadline_exempt: Prefixes of method paths whose unary calls need no deadline.
    """

    def __init__(self, service: str, drain: Drain, deadline_exempt: tuple[str, ...]) -> None:
        super().__init__()
        self._service = service
        self._drain = drain
        self._deadline_exempt = deadline_exempt
        self._validator = RequestValidator()

    def _wrap(self, path: str, handler: Handler) -> Handler:
        needs_deadline = handler.unary_unary is not None and not path.startswith(
            self._deadline_exempt
        )
        follows = split_method(path)[1].startswith(FOLLOWING_METHOD_PREFIXES)
        admit = self._each_checked if handler.request_streaming else self._checked

        def respond_once(behavior: Behavior) -> Behavior:
            async def call(request: Any, context: Any) -> Any:
                try:
                    self._enter(path, context, needs_deadline)
                    return await behavior(admit(request), context)
                except Exception as error:  # noqa: BLE001 - the one place that maps them all
                    if handler.request_streaming:
                        await _read_on(request)
                    await self._fail(error, path, context)

            return call

        def respond_in_stream(behavior: Behavior) -> Behavior:
            async def call(request: Any, context: Any) -> AsyncIterator[Any]:
                try:
                    self._enter(path, context, needs_deadline=False)
                    async with aclosing(behavior(admit(request), context)) as responses:
                        stream = self._drain.until_drained(responses) if follows else responses
                        async for response in stream:
                            yield response
                except Exception as error:  # noqa: BLE001 - the one place that maps them all
                    await self._fail(error, path, context)

            return call

        return rewrapped(handler, respond_once=respond_once, respond_in_stream=respond_in_stream)

    def _enter(self, path: str, context: Any, needs_deadline: bool) -> None:
        # A call has a task of its own, so what is set here ends with the call.
        correlation_id = causation_id = ""
        for key, value in context.invocation_metadata():
            if key == CORRELATION_METADATA:
                correlation_id = value
            elif key == CAUSATION_METADATA:
                causation_id = value
        is_caused = correlation_id or causation_id
        set_causality(Causality(correlation_id, causation_id) if is_caused else NO_CAUSALITY)
        remaining = context.time_remaining()
        if remaining is None and needs_deadline:
            raise DeadlineRequired(
                "The call has no deadline; set a timeout, so that abandoned work can stop.",
                method=path,
            )
        set_time_remaining(remaining)

    def _checked(self, request: Message | bytes) -> Message | bytes:
        # A method registered without codecs checks the bytes itself.
        if isinstance(request, Message):
            self._validator.check(request)
        return request

    async def _each_checked(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            self._validator.check(request)
            yield request

    async def _fail(self, error: Exception, path: str, context: Any) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        await context.abort_with_status(rpc_status.to_status(self._status(error, path)))
        raise AssertionError("abort_with_status always raises")

    def _status(self, error: Exception, path: str) -> Status:
        known = as_own_failure(error) if isinstance(error, RemoteError) else error
        if isinstance(known, ServiceError):
            if isinstance(known, DataLoss):
                log.error("rpc.data_loss", method=path, reason=known.reason, **known.metadata)
            return status_of(known, self._service)
        error_id = uuid.uuid4().hex
        log.error("rpc.failed", method=path, error_id=error_id, exc_info=error)
        return status_of_bug(error_id, self._service)


async def _read_on(requests: AsyncIterator[Message]) -> None:
    """Let a client that is still sending finish, within limits, before it is refused.

    A client of `grpc.aio` whose send meets a call that has ended reports that failed send
    (INTERNAL) instead of the status with the reason.
    """
    read = 0
    try:
        async with asyncio.timeout(READ_ON_LIMIT_S):
            async for request in requests:
                read += request.ByteSize()
                if read > READ_ON_LIMIT_BYTES:
                    return
    except TimeoutError:
        return
