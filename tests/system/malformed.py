"""What a broken or hostile client could send: messages of the protocol, and frames of HTTP/2."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any, Final

from tritonclient.grpc import service_pb2 as pb

from services.inference.core.wire import encoded_texts
from tests.support.bundles import raw_floats

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_DIMENSIONS: Final = (0, -1, -(2**63), 2**63 - 1, 2**62, 2**32, 2**31, 65_537, 2)
_DATATYPES: Final = (
    *("", "BOOL", "UINT8", "UINT64", "INT8", "INT64", "FP16", "BF16"),
    *("FP64", "BYTES", "FP32", "fp32", "FP32\0"),
)

# tritonclient ships no stubs for its generated messages.
_Message = Any


def good_request(model: str, rows: int = 1) -> _Message:
    """A request that the tiny model answers."""
    request = pb.ModelInferRequest(model_name=model)
    for name, datatype, raw in (
        ("distance", "FP32", raw_floats([100.0] * rows)),
        ("delay", "FP32", raw_floats([5.0] * rows)),
        ("carrier", "BYTES", encoded_texts(["AA"] * rows)),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=(rows, 1))
        request.raw_input_contents.append(raw)
    return request


def _dimensions(request: _Message, dice: random.Random) -> None:
    tensor = dice.choice(request.inputs)
    del tensor.shape[:]
    tensor.shape.extend(dice.choices(_DIMENSIONS, k=dice.randint(0, 5)))


def _all_dimensions(request: _Message, dice: random.Random) -> None:
    rows = dice.choice(_DIMENSIONS)
    for tensor in request.inputs:
        tensor.shape[0] = rows


def _raw_size(request: _Message, dice: random.Random) -> None:
    place = dice.randrange(len(request.raw_input_contents))
    raw = request.raw_input_contents[place]
    request.raw_input_contents[place] = dice.choice(
        [b"", raw[:-1], raw + b"\0", raw * 3, dice.randbytes(dice.randint(0, 3000))]
    )


def _text_length(request: _Message, dice: random.Random) -> None:
    length = dice.choice([0, 1, 2**16, 2**31, 2**32 - 1])
    request.raw_input_contents[2] = struct.pack("<I", length) + dice.choice([b"AA", b"\xff\xfe"])


def _contents(request: _Message, dice: random.Random) -> None:
    match dice.randrange(4):
        case 0:
            del request.raw_input_contents[dice.randrange(3) :]
        case 1:
            request.raw_input_contents.append(dice.randbytes(4))
        case 2:
            request.inputs[0].contents.fp32_contents.append(1.0)
        case _:
            del request.raw_input_contents[:]
            request.inputs[2].contents.bytes_contents.append(dice.randbytes(3))


def _datatype(request: _Message, dice: random.Random) -> None:
    dice.choice(request.inputs).datatype = dice.choice(_DATATYPES)


def _names(request: _Message, dice: random.Random) -> None:
    text = dice.choice(["", "delay", "x" * 100_000, "\0", "../..", "é" * 50])
    match dice.randrange(4):
        case 0:
            dice.choice(request.inputs).name = text
        case 1:
            request.outputs.add(name=text)
        case 2:
            request.id = text
        case _:
            request.model_version = text


def _parameters(request: _Message, dice: random.Random) -> None:
    name = dice.choice(["timeout", "event_time", "sticky_key", "priority", "sequence_id", ""])
    value = request.parameters[name]
    match dice.randrange(3):
        case 0:
            value.int64_param = dice.choice([-(2**63), -1, 0, 1, 2**63 - 1])
        case 1:
            value.string_param = dice.choice(["", "x" * 10_000, "\0"])
        case _:
            value.double_param = dice.choice([float("nan"), float("inf"), 0.0])


def _many_inputs(request: _Message, dice: random.Random) -> None:
    for number in range(dice.choice([1, 100, 3000])):
        request.inputs.add(name=f"more{number}", datatype="FP32", shape=(1, 1))
        request.raw_input_contents.append(b"\0\0\0\0")


_CHANGES: Final[dict[str, Callable[[_Message, random.Random], None]]] = {
    "dimensions": _dimensions,
    "all dimensions": _all_dimensions,
    "raw size": _raw_size,
    "text length": _text_length,
    "contents": _contents,
    "datatype": _datatype,
    "names": _names,
    "parameters": _parameters,
    "many inputs": _many_inputs,
}


def _flipped(data: bytes, dice: random.Random) -> bytes:
    content = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        content[dice.randrange(len(content))] = dice.randrange(256)
    return bytes(content)


_CUTS: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "truncated": lambda data, dice: data[: dice.randrange(len(data))],
    "flipped bytes": _flipped,
    "noise": lambda _, dice: dice.randbytes(dice.randint(0, 2000)),
    "doubled": lambda data, dice: data + data[dice.randrange(len(data)) :],
    "length beyond the end": lambda data, dice: data + b"\x3a\xff\xff\xff\xff\x7f" + b"x" * 9,
}


def malformed_message(model: str, dice: random.Random) -> tuple[str, bytes]:
    """The kind of fault, and a serialized request that has it."""
    request = good_request(model, dice.choice([1, 1, 3]))
    kind = dice.choice([*_CHANGES, *_CUTS])
    if change := _CHANGES.get(kind):
        change(request, dice)
    data: bytes = request.SerializeToString()
    if cut := _CUTS.get(kind):
        data = cut(data, dice)
    return kind, data


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """An HTTP/2 frame; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header_block(path: str = INFER, **changed: str) -> bytes:
    """The headers of a gRPC call, as literals without an index (RFC 7541, 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **changed,
    }
    block = b""
    for name, value in headers.items():
        for part in (name, value):
            block += (b"\0" if part is name else b"") + bytes([len(part)]) + part.encode()
    return block


def _call(dice: random.Random, model: str) -> bytes:
    """A call whose message, or whose length before it, is wrong."""
    _, message = malformed_message(model, dice)
    message = message[:8000]
    length = dice.choice([len(message), len(message) + 1, 0, 2**32 - 1, 2**31, 5])
    prefix = bytes([dice.choice([0, 0, 1, 255])]) + struct.pack(">I", length)
    flags = dice.choice([0, _END_STREAM])
    return frame(_HEADERS, _END_HEADERS, 1, header_block()) + frame(
        _DATA, flags, 1, prefix + message
    )


def _odd_headers(dice: random.Random) -> bytes:
    changed = dice.choice(
        [
            {"grpc-timeout": "99999999999H"},
            {"grpc-timeout": "-1S"},
            {"grpc-encoding": "snappy"},
            {"content-type": "text/html"},
            {":method": "GET"},
            {"grpc-status-details-bin": "!!!"},
            {"UPPER": "case"},
        ]
    )
    return frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, header_block(**changed))


def _random_frames(dice: random.Random) -> bytes:
    return b"".join(
        frame(
            dice.choice([*range(11), 255]),
            dice.randrange(256),
            dice.choice([0, 1, 2, 3, 2**31 - 1, 2**32 - 1]),
            dice.randbytes(dice.choice([0, 1, 4, 8, 100, 3000])),
            dice.choice([None, None, None, 0, 5, 2**24 - 1]),
        )
        for _ in range(dice.randint(1, 20))
    )


_FRAMES: Final[dict[str, Callable[[random.Random], bytes]]] = {
    "frames at random": _random_frames,
    "odd headers": _odd_headers,
    "broken headers": lambda dice: frame(
        _HEADERS, _END_HEADERS, 1, dice.randbytes(dice.randint(1, 200))
    ),
    "endless headers": lambda dice: (
        frame(_HEADERS, 0, 1, header_block())
        + frame(_CONTINUATION, 0, 1, b"\0\1a\1b" * 2000) * dice.randint(1, 40)
    ),
    "windows": lambda dice: (
        frame(_WINDOW, 0, dice.choice([0, 1]), struct.pack(">I", dice.choice([0, 2**31 - 1])))
        * dice.randint(1, 5)
    ),
    "settings": lambda dice: b"".join(
        frame(_SETTINGS, 0, 0, struct.pack(">HI", dice.randint(1, 9), dice.getrandbits(32)))
        for _ in range(dice.randint(1, 200))
    ),
    "pings": lambda dice: frame(_PING, 0, 0, b"12345678") * dice.randint(1, 3000),
    "opened and reset": lambda dice: b"".join(
        frame(_HEADERS, _END_HEADERS, stream, header_block())
        + frame(_RST, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 2 * dice.randint(2, 200), 2)
    ),
}


def malformed_connection(model: str, dice: random.Random) -> tuple[str, bytes]:
    """The kind of fault, and all that a connection with it sends."""
    kind = dice.choice(["noise", "cut preface", "call", *_FRAMES])
    opening = PREFACE + frame(_SETTINGS, 0, 0, b"")
    match kind:
        case "noise":
            return kind, dice.randbytes(dice.randint(1, 5000))
        case "cut preface":
            return kind, PREFACE[: dice.randrange(len(PREFACE))]
        case "call":
            return kind, opening + _call(dice, model)
    return kind, opening + _FRAMES[kind](dice)
