"""Calls of one method of one server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

import grpc

from services.inference.adapters.unary.answers import NotBegunError, call_error
from services.inference.adapters.unary.connection import Connection
from services.inference.adapters.unary.frames import constant_fields, timeout_field

_CONNECT_S: Final = 5.0
_UNHEARD_MS: Final = 20_000
"""What was sent and not acknowledged for so long ends the connection (tcp(7))."""
_FIRST_PAUSE_S: Final = 0.001
_LAST_PAUSE_S: Final = 0.1
_FIELDS: Final = (
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "roundhouse"),
)


class UnaryMethod:
    """Sends serialized requests and gives serialized answers, over one connection.

    It connects with the first call, and with the next one after the connection was lost. It
    repeats only what the server says it has not begun. Plain text only, and no compression.

    Args:
        address: `host:port`.
        path: Of the method, `/package.Service/Method`.
        limit_bytes: Of one answer.
    """

    def __init__(self, address: str, path: str, limit_bytes: int) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._constant_fields = constant_fields(path, address, _FIELDS)
        self._limit_bytes = limit_bytes
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    async def call(self, request: bytes, timeout_s: float) -> bytes:
        """The answer to `request`.

        Raises:
            grpc.aio.AioRpcError: The server refuses, is away, or was not done in time, as
                grpc.aio's own client would tell it.
        """
        end = asyncio.get_running_loop().time() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self._try(request, end)
            except NotBegunError as refusal:
                if asyncio.get_running_loop().time() + pause_s >= end:
                    raise call_error(grpc.StatusCode.UNAVAILABLE, str(refusal)) from None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _try(self, request: bytes, end: float) -> bytes:
        loop = asyncio.get_running_loop()
        connection = self._connection
        if connection is None or not connection.takes_calls:
            try:
                async with asyncio.timeout_at(end):
                    connection = await self._ready()
            except TimeoutError:
                raise _expired() from None
        left_s = end - loop.time()
        if left_s <= 0.0:
            raise _expired()
        stream, answer = connection.begin(request, timeout_field(left_s))
        timer = loop.call_at(end, _expire, connection, stream)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.give_up(stream)
            raise
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Fail what is under way, and close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await self._connecting
        if self._connection is not None:
            self._connection.close()

    async def _ready(self) -> Connection:
        """A connection that takes calls."""
        while True:
            connection = self._connection
            if connection is None or connection.is_spent:
                if self._connecting is None:
                    self._connecting = asyncio.create_task(self._connect())
                    self._connecting.add_done_callback(self._connect_done)
                connection = await asyncio.shield(self._connecting)
            if connection.takes_calls:
                return connection
            await connection.room()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                transport, connection = await loop.create_connection(
                    lambda: Connection(self._constant_fields, self._limit_bytes),
                    self._host,
                    self._port,
                )
        except OSError as error:  # TimeoutError is one, without a text
            text = f"no connection to {self._host}:{self._port}: {str(error) or 'no answer'}"
            raise call_error(grpc.StatusCode.UNAVAILABLE, text) from error
        made: socket.socket = transport.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD_MS)
        self._connection = connection
        return connection

    def _connect_done(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        # Each of the callers raises it; none may be left to.
        if not task.cancelled():
            task.exception()


def _expire(connection: Connection, stream: int) -> None:
    connection.give_up(stream, _expired())


def _expired() -> grpc.aio.AioRpcError:
    return call_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
