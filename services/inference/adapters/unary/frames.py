"""HTTP/2 frames and the header block of a gRPC request (RFC 9113, RFC 7541)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_FRAME_BYTES: Final = 16_384
LARGEST_FRAME_BYTES: Final = 2**24 - 1

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

_HEADER: Final = struct.Struct(">HBBBI")
_SETTING: Final = struct.Struct(">HI")
_NUMBER: Final = struct.Struct(">I")
_STREAM_BITS: Final = 2**31 - 1
_LITERAL: Final = b"\x00"
"""A field that no table takes in, its name spelled out."""
_POST_OVER_HTTP: Final = b"\x83\x86"
_PATH, _AUTHORITY = b"\x04", b"\x01"
_LARGEST_TIMEOUT: Final = 10**8 - 1
"""gRPC allows eight digits."""


class Kind(IntEnum):
    """What a frame is."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """What a peer tells of itself."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class ErrorCode(IntEnum):
    """Why a stream or a connection was ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class BrokenProtocolError(Exception):
    """The peer sent what is no HTTP/2; the connection can't go on.

    Args:
        text: What was wrong.
        code: What the peer is told.
    """

    def __init__(self, text: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def header_of(data: bytes | bytearray, offset: int) -> tuple[int, int, int, int]:
    """Size of the payload, kind, flags and stream of the frame that begins at `offset`."""
    high, low, kind, flags, stream = _HEADER.unpack_from(data, offset)
    return high << 8 | low, kind, flags, stream & _STREAM_BITS


def settings_payload(settings: Sequence[tuple[Setting, int]]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join(_SETTING.pack(*each) for each in settings)


def settings_in(payload: bytes) -> Iterator[tuple[int, int]]:
    """The settings in a payload, in their order.

    Raises:
        BrokenProtocolError: It is cut short.
    """
    if len(payload) % _SETTING.size:
        raise BrokenProtocolError("SETTINGS are cut short", ErrorCode.FRAME_SIZE_ERROR)
    yield from _SETTING.iter_unpack(payload)


def number(value: int) -> bytes:
    """A payload that is one number of 32 bits."""
    return _NUMBER.pack(value)


def number_in(payload: bytes, size: int = _NUMBER.size) -> int:
    """The number that begins a payload, whose reserved bit is not looked at.

    Raises:
        BrokenProtocolError: The payload has not `size` bytes.
    """
    if len(payload) != size:
        raise BrokenProtocolError("a frame has a wrong size", ErrorCode.FRAME_SIZE_ERROR)
    value: int = _NUMBER.unpack_from(payload)[0]
    return value


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame carries, without padding and priority.

    Raises:
        BrokenProtocolError: There is more padding than payload.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise BrokenProtocolError("a padded frame is empty", ErrorCode.FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    if start > end:
        raise BrokenProtocolError("a frame has more padding than payload")
    return payload[start:end]


def constant_fields(path: str, authority: str, others: Iterable[tuple[str, str]]) -> bytes:
    """The part of a request's header block that is the same for each call.

    No field enters the peer's table, so blocks may be sent in any order and their size is known.
    """
    return b"".join(
        (
            _POST_OVER_HTTP,
            _PATH + _text(path),
            _AUTHORITY + _text(authority),
            *(_LITERAL + _text(name) + _text(value) for name, value in others),
        )
    )


_TIMEOUT: Final = b"\x00\x0cgrpc-timeout"


def timeout_field(seconds: float) -> bytes:
    """The field with the time that a call has, rounded up, at least 1 us."""
    micros = max(1, math.ceil(seconds * 1e6))
    if micros <= _LARGEST_TIMEOUT:
        value = b"%du" % micros
    else:
        value = b"%dS" % min(math.ceil(seconds), _LARGEST_TIMEOUT)
    return _TIMEOUT + bytes((len(value),)) + value


def _text(value: str) -> bytes:
    """A text behind its length, an integer with a prefix of 7 bits."""
    data = value.encode("ascii")
    size = len(data)
    if size < 0x7F:
        return bytes((size,)) + data
    rest = size - 0x7F
    digits = bytearray((0x7F,))
    while rest > 0x7F:
        digits.append(rest & 0x7F | 0x80)
        rest >>= 7
    digits.append(rest)
    return bytes(digits) + data
