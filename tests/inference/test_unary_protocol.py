"""What a server may send over HTTP/2, and what it may not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import NoneType

import grpc
import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.adapters.unary.answers import NotBegunError
from services.inference.adapters.unary.connection import Connection
from services.inference.adapters.unary.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    PADDED,
    PREFACE,
    Kind,
    Setting,
    constant_fields,
    frame,
    header_of,
    number,
    settings_payload,
    timeout_field,
)

LIMIT_BYTES = 1 << 20
FIELDS = constant_fields("/a.B/C", "localhost:1", [("te", "trailers")])


class Sink(asyncio.Transport):
    """Takes what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of what was written since the last time."""
        data = bytes(self.written).removeprefix(PREFACE)
        self.written.clear()
        found, start = [], 0
        while start < len(data):
            size, kind, flags, stream = header_of(data, start)
            end = start + HEADER_BYTES + size
            found.append((kind, flags, stream, data[start + HEADER_BYTES : end]))
            start = end
        return found


def connected() -> tuple[Connection, Sink]:
    connection, sink = Connection(FIELDS, LIMIT_BYTES), Sink()
    connection.connection_made(sink)
    sink.frames()
    return connection, sink


def begun(connection: Connection, message: bytes = b"ask") -> asyncio.Future[bytes]:
    return connection.begin(message, timeout_field(1.0))[1]


def answer(encoder: Encoder, stream: int, message: bytes, trailers: Sequence = ()) -> list[bytes]:
    head = encoder.encode([(":status", "200"), ("content-type", "application/grpc")])
    tail = encoder.encode(trailers or [("grpc-status", "0"), ("grpc-message", "")])
    body = b"\0" + number(len(message)) + message
    return [
        frame(Kind.HEADERS, END_HEADERS, stream, head),
        frame(Kind.DATA, 0, stream, body),
        frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream, tail),
    ]


def status_of(done: asyncio.Future[bytes]) -> grpc.StatusCode:
    error = done.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    return error.code()


@given(cuts=st.lists(st.integers(0, 400)), padding=st.integers(0, 20))
async def test_however_the_bytes_arrive_the_answers_are_the_same(cuts, padding):
    connection, _ = connected()
    answers = [begun(connection) for _ in range(3)]
    encoder = Encoder()
    padded = b"\0" + number(4) + b"last"
    stream = b"".join(
        [
            frame(Kind.SETTINGS, 0, 0, settings_payload([(Setting.MAX_FRAME_SIZE, 20_000)])),
            *answer(encoder, 3, b"second"),
            frame(0x42, 0, 0, b"of a kind that nobody knows"),
            *answer(encoder, 1, b"first"),
            frame(Kind.HEADERS, END_HEADERS, 5, encoder.encode([(":status", "200")])),
            frame(Kind.DATA, PADDED, 5, bytes([padding]) + padded + bytes(padding)),
            frame(
                Kind.HEADERS, END_HEADERS | END_STREAM, 5, encoder.encode([("grpc-status", "0")])
            ),
        ]
    )
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for start, end in pairwise(places):
        connection.data_received(stream[start:end])
    assert [done.result() for done in answers] == [b"first", b"second", b"last"]


async def test_headers_may_go_on_in_other_frames():
    connection, _ = connected()
    done = begun(connection)
    head, body, tail = answer(Encoder(), 1, b"a")
    block = head[HEADER_BYTES:]
    connection.data_received(
        frame(Kind.HEADERS, 0, 1, block[:1])
        + frame(Kind.CONTINUATION, 0, 1, block[1:2])
        + frame(Kind.CONTINUATION, END_HEADERS, 1, block[2:])
        + body
        + tail
    )
    assert done.result() == b"a"


async def test_no_more_is_sent_than_the_windows_allow():
    connection, sink = connected()
    done = begun(connection, b"x" * 100_000)
    sent = sum(len(payload) for kind, *_, payload in sink.frames() if kind == Kind.DATA)
    assert sent == 65_535
    connection.data_received(frame(Kind.WINDOW_UPDATE, 0, 0, number(100)))
    assert not sink.frames()
    connection.data_received(frame(Kind.WINDOW_UPDATE, 0, 1, number(1 << 20)))
    assert [len(payload) for *_, payload in sink.frames()] == [100]
    grown = settings_payload([(Setting.INITIAL_WINDOW_SIZE, 1 << 20)])
    connection.data_received(
        frame(Kind.SETTINGS, 0, 0, grown) + frame(Kind.WINDOW_UPDATE, 0, 0, number(1 << 20))
    )
    frames = [each for each in sink.frames() if each[0] == Kind.DATA]
    assert sum(len(payload) for *_, payload in frames) == 100_005 - 65_535 - 100
    assert [flags for _, flags, *_ in frames][-1] == END_STREAM
    connection.data_received(b"".join(answer(Encoder(), 1, b"a")))
    assert done.result() == b"a"


async def test_settings_and_pings_are_acknowledged():
    connection, sink = connected()
    connection.data_received(
        frame(Kind.SETTINGS, 0, 0)
        + frame(Kind.PING, 0, 0, b"12345678")
        + frame(Kind.PING, ACK, 0, bytes(8))
    )
    assert sink.frames() == [(Kind.SETTINGS, ACK, 0, b""), (Kind.PING, ACK, 0, b"12345678")]


async def test_a_server_that_goes_finishes_the_calls_that_it_has_taken():
    connection, sink = connected()
    taken, refused = begun(connection), begun(connection)
    connection.data_received(frame(Kind.GOAWAY, 0, 0, number(1) + number(0)))
    assert isinstance(refused.exception(), NotBegunError)
    assert not connection.takes_calls
    assert not sink.closed
    connection.data_received(b"".join(answer(Encoder(), 1, b"a")))
    assert taken.result() == b"a"
    assert sink.closed


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (8, grpc.StatusCode.CANCELLED),
        (2, grpc.StatusCode.INTERNAL),
        (99, grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_reset_fails_its_own_call(code, status):
    connection, _ = connected()
    reset, other = begun(connection), begun(connection)
    connection.data_received(frame(Kind.RST_STREAM, 0, 1, number(code)))
    assert status_of(reset) is status
    assert not other.done()


@pytest.mark.parametrize("code", [7, 11])
async def test_a_call_that_the_server_refuses_to_begin_may_be_sent_again(code):
    connection, _ = connected()
    done = begun(connection)
    connection.data_received(frame(Kind.RST_STREAM, 0, 1, number(code)))
    assert isinstance(done.exception(), NotBegunError)


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ([(":status", "503")], b"", grpc.StatusCode.UNAVAILABLE),
        ([(":status", "404")], b"<html>", grpc.StatusCode.UNIMPLEMENTED),
        ([(":status", "200")], b"\0\0\0\0\1a", grpc.StatusCode.UNKNOWN),
        ([(":status", "200"), ("grpc-status", "0")], b"", grpc.StatusCode.INTERNAL),
        ([(":status", "200"), ("grpc-status", "0")], b"\1\0\0\0\1a", grpc.StatusCode.INTERNAL),
        ([(":status", "200"), ("grpc-status", "0")], b"\0\0\0\0\2a", grpc.StatusCode.INTERNAL),
        ([(":status", "200"), ("grpc-status", "5")], b"", grpc.StatusCode.NOT_FOUND),
        ([(":status", "200"), ("grpc-status", "many")], b"", grpc.StatusCode.UNKNOWN),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(fields, body, status):
    connection, _ = connected()
    done = begun(connection)
    connection.data_received(
        frame(Kind.HEADERS, END_HEADERS, 1, Encoder().encode(fields))
        + frame(Kind.DATA, END_STREAM, 1, body)
    )
    assert status_of(done) is status


HEADERS = frame(Kind.HEADERS, END_HEADERS, 1, Encoder().encode([(":status", "200")]))


@pytest.mark.parametrize(
    "sent",
    [
        frame(Kind.DATA, 0, 1, b"a"),
        frame(Kind.DATA, 0, 0, b"a"),
        frame(Kind.DATA, 0, 3, b"a"),
        HEADERS + frame(Kind.DATA, PADDED, 1, b""),
        HEADERS + frame(Kind.DATA, PADDED, 1, b"\x09a"),
        frame(Kind.HEADERS, END_HEADERS, 2, b"\x88"),
        frame(Kind.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        frame(Kind.HEADERS, END_HEADERS, 1, Encoder().encode([("a", "b")])),
        frame(Kind.HEADERS, END_HEADERS, 1, Encoder().encode([(":status", "9" * 5000)])),
        frame(Kind.HEADERS, 0, 1, b"\x88") + frame(Kind.PING, 0, 0, bytes(8)),
        frame(Kind.HEADERS, 0, 1, b"\x88") + frame(Kind.CONTINUATION, END_HEADERS, 3, b""),
        frame(Kind.HEADERS, 0, 1, bytes(1 << 17)),
        frame(Kind.CONTINUATION, END_HEADERS, 1, b"\x88"),
        frame(Kind.PUSH_PROMISE, END_HEADERS, 1, number(2)),
        frame(Kind.SETTINGS, 0, 0, b"12345"),
        frame(Kind.SETTINGS, 0, 0, settings_payload([(Setting.INITIAL_WINDOW_SIZE, 1 << 31)])),
        frame(Kind.SETTINGS, 0, 0, settings_payload([(Setting.MAX_FRAME_SIZE, 1)])),
        frame(Kind.PING, 0, 0, b"short"),
        frame(Kind.GOAWAY, 0, 0, b"short"),
        frame(Kind.RST_STREAM, 0, 1, b"a"),
        frame(Kind.WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_and_tells_why(sent):
    connection, sink = connected()
    answers = [begun(connection)]
    connection.data_received(sent)
    assert [status_of(done) for done in answers] == [grpc.StatusCode.UNAVAILABLE]
    assert "broke HTTP/2" in str(answers[0].exception())
    assert connection.is_spent
    assert sink.closed
    assert sink.frames()[-1][0] == Kind.GOAWAY


_FRAMES = st.builds(
    frame,
    st.sampled_from(list(Kind)),
    st.integers(0, 255),
    st.integers(0, 9),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([number(1), number(7), bytes(8), b"\x88", b"\0\0\0\0\1a"]),
        st.lists(
            st.tuples(
                st.sampled_from([":status", "grpc-status", "a"]), st.text("0129z", max_size=3)
            ),
            max_size=3,
        ).map(lambda fields: Encoder().encode(fields)),
    ),
)


@settings(max_examples=400)
@given(sent=st.lists(st.one_of(_FRAMES, st.binary(max_size=30)), max_size=12))
async def test_whatever_comes_each_call_has_an_end(sent):
    connection, sink = connected()
    answers = [begun(connection) for _ in range(3)]
    for each in sent:
        if not sink.closed:
            connection.data_received(each)
    connection.connection_lost(None)
    for done in answers:
        assert done.done()
        assert isinstance(done.exception(), (NoneType, NotBegunError, grpc.aio.AioRpcError))


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0.0, b"1u"),
        (0.25, b"250000u"),
        (99.0, b"99000000u"),
        (100.5, b"101S"),
        (1e12, b"99999999S"),
    ],
)
def test_the_time_left_is_rounded_up_to_what_the_protocol_can_say(seconds, value):
    assert timeout_field(seconds) == b"\x00\x0cgrpc-timeout" + bytes([len(value)]) + value


@pytest.mark.parametrize("size", [1, 126, 127, 128, 300, 20_000])
async def test_fields_of_any_length_are_understood(size):
    block = constant_fields("/a.B/C", "h" * size, [("te", "trailers")]) + timeout_field(2.0)
    assert dict(Decoder(max_header_list_size=1 << 20).decode(block)) == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/a.B/C",
        ":authority": "h" * size,
        "te": "trailers",
        "grpc-timeout": "2000000u",
    }
