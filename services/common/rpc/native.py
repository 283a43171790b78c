"""Answers chosen unary methods from a server in Rust, and hands every other call to grpc.aio.

Both share one address: `pygrpc-native` listens on it, answers the chosen methods itself, and
passes other calls on, frame by frame, over a Unix socket. docs/decisions says what was measured
and where the two differ.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import structlog
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from services.common.rpc.interceptors.arity import Handler

log = structlog.get_logger()

_Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
_Event: TypeAlias = tuple[Any, ...]  # the kinds of events differ in what they leave out

_EVENTS_AT_ONCE: Final = 64
_IO_THREADS: Final = 1
"""One does 50,000 calls a second, more than the event loop that answers them."""
_LAST_WRITES_S: Final = 0.25
"""From the last answer to the closing of its connection: the listener does not tell when it has
written what it was given, and on a busy machine its thread may come late."""
_CLOSED_TEXT: Final = "The server is shutting down."


@dataclass(frozen=True, slots=True)
class NativeLimits:
    """What the listener allows.

    Attributes:
        max_message_bytes: Of one request or response. A larger request is refused only after
            it has arrived whole: the listener knows no limit of its own.
        max_concurrent_rpcs: Open calls of the chosen methods.
        keepalive_s: A connection that is silent for so long is probed.
        keepalive_timeout_s: A probe unanswered for so long ends the connection.
    """

    max_message_bytes: int
    max_concurrent_rpcs: int
    keepalive_s: float
    keepalive_timeout_s: float


class NativeContext:
    """What a behaviour and its interceptors may ask of a call; a part of `ServicerContext`."""

    __slots__ = ("_code", "_deadline", "_details", "_metadata", "_peer", "_trailing")

    def __init__(self, metadata: _Metadata, peer: str, time_remaining_s: float | None) -> None:
        self._metadata = metadata
        self._peer = peer
        self._deadline = None if time_remaining_s is None else time.monotonic() + time_remaining_s
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: _Metadata = ()

    def invocation_metadata(self) -> _Metadata:
        """The client's, in the order it sent them."""
        return self._metadata

    def peer(self) -> str:
        """Such as `ipv4:127.0.0.1:40000`."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds, at least 0; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def code(self) -> grpc.StatusCode | None:
        """What the call was ended with; None while it is under way."""
        return self._code

    def details(self) -> str:
        """The text of the status."""
        return self._details

    def trailing_metadata(self) -> _Metadata:
        """What goes out with the status."""
        return self._trailing

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: _Metadata = ()
    ) -> NoReturn:
        """End the call; always raises `grpc.aio.AbortError`."""
        self._code, self._details, self._trailing = code, details, trailing_metadata
        raise grpc.aio.AbortError("Aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call; always raises `grpc.aio.AbortError`."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())


@dataclass(slots=True)
class _Calls:
    """The calls under way, by the listener's number."""

    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    abandoned: set[int] = field(default_factory=set)
    last_end: float = 0.0
    """Of a call, by the monotonic clock."""


class NativeListener:
    """The published address.

    Args:
        listen: `host:port`; port 0 picks a free one.
        handlers: The chosen unary methods by path, interceptors included.
        others: Path of the Unix socket where grpc.aio answers everything else.
        limits: What clients are allowed.

    Raises:
        RuntimeError: The address is taken or is none of this machine's.
    """

    def __init__(
        self, listen: str, handlers: Mapping[str, Handler], others: str, limits: NativeLimits
    ) -> None:
        self._limits = limits
        self._methods = list(handlers.items())
        try:
            self._front = NativeGrpcFront(
                listen,
                [(path, False) for path in handlers],
                io_threads=_IO_THREADS,
                call_details=True,
                keepalive_time_ms=int(limits.keepalive_s * 1000),
                keepalive_timeout_ms=int(limits.keepalive_timeout_s * 1000),
            )
        except OSError as error:
            raise RuntimeError(f"Failed to bind to address {listen}: {error}") from error
        self._front.set_fallback(others)
        self._calls = _Calls()
        self._draining = False
        self._thread = threading.Thread(
            target=self._receive, args=(asyncio.get_running_loop(),), name="native-rpc", daemon=True
        )

    @property
    def port(self) -> int:
        """The bound one."""
        return self._front.bound_port

    def start(self) -> None:
        """Take calls, on the running event loop."""
        self._front.start()
        self._thread.start()

    async def drain(self, limit_s: float) -> None:
        """Refuse new calls, let those under way finish, cancel what is left after `limit_s`."""
        self._draining = True
        tasks = list(self._calls.tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=limit_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        # Also after calls that had just ended when the drain began.
        await asyncio.sleep(self._calls.last_end + _LAST_WRITES_S - time.monotonic())

    async def close(self) -> None:
        """Close the address and every connection."""
        await asyncio.to_thread(self._front.close)
        await asyncio.to_thread(self._thread.join)

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        while (events := self._front.recv_batch_details(_EVENTS_AT_ONCE)) is not None:
            loop.call_soon_threadsafe(self._take, events)

    def _take(self, events: Sequence[_Event]) -> None:
        loop = asyncio.get_running_loop()
        calls = self._calls
        for kind, number, method, payload, _, details in events:
            if kind == EVENT_CANCEL:
                if (task := calls.tasks.get(number)) is not None:
                    calls.abandoned.add(number)
                    task.cancel()
            elif (refusal := self._refusal(payload)) is not None:
                code, text = refusal
                self._front.fail(number, code.value[0], text)
            else:
                path, handler = self._methods[method]
                calls.tasks[number] = loop.create_task(
                    self._answer(number, path, handler, payload, NativeContext(*details))
                )

    def _refusal(self, payload: bytes) -> tuple[grpc.StatusCode, str] | None:
        """Why a call is not begun, in grpc's own words where it has them."""
        if self._draining:
            return grpc.StatusCode.UNAVAILABLE, _CLOSED_TEXT
        if len(self._calls.tasks) >= self._limits.max_concurrent_rpcs:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!"
        if len(payload) > (limit := self._limits.max_message_bytes):
            return (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"SERVER: Received message larger than max ({len(payload)} vs. {limit})",
            )
        return None

    async def _answer(
        self, number: int, path: str, handler: Handler, payload: bytes, context: NativeContext
    ) -> None:
        try:
            answer = await self._response(path, handler, payload, context)
        except grpc.aio.AbortError:
            code = context.code() or grpc.StatusCode.UNKNOWN
            self._front.fail(
                number, code.value[0], context.details(), list(context.trailing_metadata())
            )
        except asyncio.CancelledError:
            if number not in self._calls.abandoned:
                self._front.fail(number, grpc.StatusCode.CANCELLED.value[0], _CLOSED_TEXT)
            raise
        else:
            self._front.respond(number, answer)
        finally:
            del self._calls.tasks[number]
            self._calls.last_end = time.monotonic()
            self._calls.abandoned.discard(number)

    async def _response(
        self, path: str, handler: Handler, payload: bytes, context: NativeContext
    ) -> bytes:
        """The serialized answer.

        Raises:
            grpc.aio.AbortError: The call failed; `context` says how.
        """
        assert handler.unary_unary is not None
        decode, encode = handler.request_deserializer, handler.response_serializer
        try:
            request = payload if decode is None else decode(payload)
        except Exception:  # noqa: BLE001 - whatever a codec raises for bytes that are no message
            log.warning("rpc.undecodable", method=path)
            await context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        # The interceptors around it turn every failure into an abort.
        response: Any = await handler.unary_unary(request, context)  # type: ignore[arg-type]  # typed for grpc's own context
        answer: bytes = response if encode is None else encode(response)
        if len(answer) > (limit := self._limits.max_message_bytes):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"SERVER: Sent message larger than max ({len(answer)} vs. {limit})",
            )
        return answer
