"""One HTTP/2 connection to a gRPC server, on the event loop itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import grpc
from hpack import Decoder, HPACKError
from typing_extensions import override

from services.inference.adapters.unary.answers import (
    Answer,
    NotBegunError,
    call_error,
    reset_error,
)
from services.inference.adapters.unary.frames import (
    ACK,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    LARGEST_FRAME_BYTES,
    LARGEST_WINDOW,
    PREFACE,
    BrokenProtocolError,
    ErrorCode,
    Kind,
    Setting,
    frame,
    header_of,
    number,
    number_in,
    settings_in,
    settings_payload,
    unpadded,
)

_OWN_FRAME_BYTES: Final = 1 << 20
_OWN_SETTINGS: Final = settings_payload(
    [
        (Setting.ENABLE_PUSH, 0),
        (Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW),
        (Setting.MAX_FRAME_SIZE, _OWN_FRAME_BYTES),
    ]
)
_TOP_UP_BYTES: Final = 1 << 28
_LARGEST_FIELDS_BYTES: Final = 64 << 10
_LAST_STREAM: Final = 2**31 - 1
_PING_BYTES: Final = 8
_GOAWAY_BYTES: Final = 8


@dataclass(slots=True)
class _Call:
    """One open stream."""

    answer: Answer
    done: asyncio.Future[bytes]
    window: int
    unsent: memoryview


class Connection(asyncio.Protocol):
    """Takes calls until the server says that it goes, or the connection is lost.

    Whatever the server sends ends in an answer or in an error of the calls that it concerns.

    Args:
        constant_fields: The part of the header block that all calls share.
        limit_bytes: Of one answer.
    """

    def __init__(self, constant_fields: bytes, limit_bytes: int) -> None:
        self._constant_fields = constant_fields
        self._limit_bytes = limit_bytes
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._decoder = Decoder(max_header_list_size=_LARGEST_FIELDS_BYTES)
        self._calls: dict[int, _Call] = {}
        self._next_stream = 1
        self._frame_bytes = DEFAULT_FRAME_BYTES
        self._initial_window = self._window = DEFAULT_WINDOW
        self._max_calls = _LAST_STREAM
        self._consumed = 0
        self._fields: bytearray | None = None
        self._fields_of = (0, 0)
        self._goes = False
        self._waiting: list[asyncio.Future[None]] = []
        self._takers: dict[int, Callable[[int, int, bytes], None]] = {
            Kind.DATA: self._take_data,
            Kind.HEADERS: self._take_headers,
            Kind.RST_STREAM: self._take_reset,
            Kind.SETTINGS: self._take_settings,
            Kind.PUSH_PROMISE: self._take_push,
            Kind.PING: self._take_ping,
            Kind.GOAWAY: self._take_goaway,
            Kind.WINDOW_UPDATE: self._take_window,
            Kind.CONTINUATION: self._take_continuation,
        }

    @property
    def takes_calls(self) -> bool:
        """Whether another call may begin here."""
        return (
            self._transport is not None
            and not self._goes
            and len(self._calls) < self._max_calls
            and self._next_stream < _LAST_STREAM
        )

    @property
    def is_spent(self) -> bool:
        """Whether it will never take a call again."""
        return self._transport is None or self._goes or self._next_stream >= _LAST_STREAM

    def begin(self, message: bytes, timeout_field: bytes) -> tuple[int, asyncio.Future[bytes]]:
        """Send a call; gives its stream and its answer. Only while `takes_calls`.

        The answer raises NotBegunError or `grpc.aio.AioRpcError`.
        """
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        body = b"\x00" + number(len(message)) + message
        fields = frame(Kind.HEADERS, END_HEADERS, stream, self._constant_fields + timeout_field)
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        call = _Call(Answer(self._limit_bytes), done, self._initial_window, memoryview(body))
        self._calls[stream] = call
        if len(body) <= min(self._frame_bytes, self._window, self._initial_window):
            self._window -= len(body)
            call.unsent = memoryview(b"")
            self._write(fields + frame(Kind.DATA, END_STREAM, stream, body))
        else:
            self._write(fields)
            self._send(stream, call)
        return stream, done

    async def room(self) -> None:
        """Return when it is worth to look at `takes_calls` again."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def give_up(self, stream: int, error: grpc.aio.AioRpcError | None = None) -> None:
        """End a call that nobody waits for, or with `error`; the server stops to work on it."""
        if stream in self._calls:
            self._write(frame(Kind.RST_STREAM, 0, stream, number(ErrorCode.CANCEL)))
            self._fail([stream], error)

    def close(self) -> None:
        """Fail what is under way, and close."""
        self._end("the connection was closed", ErrorCode.NO_ERROR)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._write(
            PREFACE
            + frame(Kind.SETTINGS, 0, 0, _OWN_SETTINGS)
            + frame(Kind.WINDOW_UPDATE, 0, 0, number(LARGEST_WINDOW - DEFAULT_WINDOW))
        )

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost(f"the connection was lost: {exc}" if exc else "the server has hung up")

    @override
    def data_received(self, data: bytes) -> None:
        received: bytes | bytearray = data
        if self._received:
            self._received += data
            received = self._received
        try:
            taken = self._take_frames(received)
        except BrokenProtocolError as error:
            self._received.clear()
            self._end(f"the server broke HTTP/2: {error}", error.code)
            return
        if received is self._received:
            del self._received[:taken]
        else:
            self._received += received[taken:]

    def _take_frames(self, received: bytes | bytearray) -> int:
        """Take every whole frame; gives how many bytes they are."""
        start = 0
        while len(received) - start >= HEADER_BYTES:
            size, kind, flags, stream = header_of(received, start)
            if size > _OWN_FRAME_BYTES:
                raise BrokenProtocolError("a frame is too large", ErrorCode.FRAME_SIZE_ERROR)
            end = start + HEADER_BYTES + size
            if end > len(received):
                break
            if self._fields is not None and kind != Kind.CONTINUATION:
                raise BrokenProtocolError("another frame came between headers")
            if (take := self._takers.get(kind)) is not None:
                take(flags, stream, bytes(received[start + HEADER_BYTES : end]))
            start = end
        return start

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed >= _TOP_UP_BYTES:
            self._write(frame(Kind.WINDOW_UPDATE, 0, 0, number(self._consumed)))
            self._consumed = 0
        # What was given up may go on to arrive for a while.
        if (call := self._called(stream)) is None:
            return
        if not call.answer.take_data(unpadded(flags, payload) if flags & ~END_STREAM else payload):
            text = f"the answer has more than {self._limit_bytes} bytes"
            self.give_up(stream, call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
        elif flags & END_STREAM:
            self._finish(stream, call)

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._fields_of = (flags, stream)
        self._add_fields(flags, bytearray(unpadded(flags, payload)))

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._fields is None or stream != self._fields_of[1]:
            raise BrokenProtocolError("headers go on that have not begun")
        self._add_fields(flags, self._fields + payload)

    def _add_fields(self, flags: int, block: bytearray) -> None:
        if len(block) > _LARGEST_FIELDS_BYTES:
            raise BrokenProtocolError("headers are too large", ErrorCode.ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            self._fields = block
            return
        self._fields = None
        flags, stream = self._fields_of
        try:
            # Also where nobody waits: the block may change the table of later ones.
            fields = self._decoder.decode(bytes(block))
            decoded = {_text(name): _text(value) for name, value in fields}
        except (HPACKError, UnicodeDecodeError) as error:
            raise BrokenProtocolError(str(error), ErrorCode.COMPRESSION_ERROR) from error
        if (call := self._called(stream)) is None:
            return
        call.answer.take_fields(decoded)
        if flags & END_STREAM:
            self._finish(stream, call)

    def _take_reset(self, _: int, stream: int, payload: bytes) -> None:
        code = number_in(payload)
        if self._called(stream) is not None:
            self._fail([stream], reset_error(code))

    def _take_settings(self, flags: int, _: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for setting, value in settings_in(payload):
            if setting == Setting.INITIAL_WINDOW_SIZE:
                self._resize_windows(value)
            elif setting == Setting.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
                    raise BrokenProtocolError("the largest frame has an impossible size")
                self._frame_bytes = value
            elif setting == Setting.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
        self._write(frame(Kind.SETTINGS, ACK, 0))
        self._send_more()

    def _resize_windows(self, value: int) -> None:
        if value > LARGEST_WINDOW:
            raise BrokenProtocolError("a window is too large", ErrorCode.FLOW_CONTROL_ERROR)
        grown, self._initial_window = value - self._initial_window, value
        for call in self._calls.values():
            call.window += grown

    def _take_push(self, _: int, stream: int, __: bytes) -> None:
        raise BrokenProtocolError(f"a push on stream {stream} was not asked for")

    def _take_ping(self, flags: int, _: int, payload: bytes) -> None:
        number_in(payload, _PING_BYTES)
        if not flags & ACK:
            self._write(frame(Kind.PING, ACK, 0, payload))

    def _take_goaway(self, _: int, __: int, payload: bytes) -> None:
        last = number_in(payload[:_GOAWAY_BYTES], _GOAWAY_BYTES) & _LAST_STREAM
        self._goes = True
        refused = NotBegunError("the server takes no more calls")
        self._fail([stream for stream in self._calls if stream > last], refused)

    def _take_window(self, _: int, stream: int, payload: bytes) -> None:
        grown = number_in(payload) & LARGEST_WINDOW
        if stream == 0:
            self._window += grown
            if self._window > LARGEST_WINDOW:
                raise BrokenProtocolError("a window is too large", ErrorCode.FLOW_CONTROL_ERROR)
        elif (call := self._called(stream)) is not None:
            call.window += grown
        self._send_more()

    def _called(self, stream: int) -> _Call | None:
        """The call of a stream; None for one that has ended.

        Raises:
            BrokenProtocolError: There was none.
        """
        if stream % 2 == 0 or stream >= self._next_stream:
            raise BrokenProtocolError(f"a frame belongs to stream {stream}, which nobody began")
        return self._calls.get(stream)

    def _finish(self, stream: int, call: _Call) -> None:
        del self._calls[stream]
        if call.unsent:
            # Answered without having heard all: the rest is of no use.
            self._write(frame(Kind.RST_STREAM, 0, stream, number(ErrorCode.NO_ERROR)))
        if not call.done.done():
            try:
                call.done.set_result(call.answer.message())
            except grpc.aio.AioRpcError as error:
                call.done.set_exception(error)
        self._ended()

    def _fail(self, streams: Sequence[int], error: Exception | None) -> None:
        for stream in streams:
            done = self._calls.pop(stream).done
            if error is not None and not done.done():
                done.set_exception(error)
        self._ended()

    def _ended(self) -> None:
        """Calls have ended, or the connection has: others may begin, here or elsewhere."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)
        if self._goes and not self._calls and self._transport is not None:
            self._transport.close()

    def _send_more(self) -> None:
        for stream, call in self._calls.items():
            if self._window <= 0:
                return
            if call.unsent and call.window > 0:
                self._send(stream, call)

    def _send(self, stream: int, call: _Call) -> None:
        """Send of a call's message what the windows allow."""
        frames: list[bytes] = []
        while call.unsent and (room := min(self._frame_bytes, self._window, call.window)) > 0:
            part, call.unsent = call.unsent[:room], call.unsent[room:]
            call.window -= len(part)
            self._window -= len(part)
            flags = 0 if call.unsent else END_STREAM
            frames.append(frame(Kind.DATA, flags, stream, bytes(part)))
        if frames:
            self._write(b"".join(frames))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, text: str, code: ErrorCode) -> None:
        self._goes = True
        self._write(frame(Kind.GOAWAY, 0, 0, number(0) + number(code)))
        self._lost(text)

    def _lost(self, text: str) -> None:
        self._fail(list(self._calls), call_error(grpc.StatusCode.UNAVAILABLE, text))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
