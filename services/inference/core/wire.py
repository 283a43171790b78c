"""Raw tensor contents of the Open Inference Protocol: row-major, little-endian; their framing."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.inference.core.signature import DTYPES, Datatype

_LENGTH: Final = struct.Struct("<I")
_LARGEST_OF_A_BYTE: Final = 0x7F
_DATATYPES: Final = {dtype.str[1:]: datatype for datatype, dtype in DTYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> Datatype:
    """The protocol's name of an array's type; BYTES for texts."""
    return _DATATYPES.get(dtype.str[1:], Datatype.BYTES)


def triton_type(datatype: Datatype) -> str:
    """The name of a type in Triton's model configurations."""
    return "TYPE_STRING" if datatype is Datatype.BYTES else f"TYPE_{datatype}"


def encoded(array: NDArray[Any]) -> bytes:
    """The array's raw contents."""
    if array.dtype.kind == "O":
        return encoded_texts(array.ravel())
    return array.tobytes()


def encoded_texts(values: Iterable[str]) -> bytes:
    """Each text in UTF-8 behind its length as uint32."""
    parts: list[bytes] = []
    for value in values:
        text = value.encode()
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def decoded(datatype: str, shape: tuple[int, ...], data: bytes) -> NDArray[Any]:
    """The array that the raw contents of a numeric output stand for.

    Raises:
        ValueError: The contents do not fit the shape, or the type is no number.
    """
    return np.frombuffer(data, DTYPES[Datatype(datatype)]).reshape(shape)


def decoded_texts(data: bytes, count: int) -> list[str]:
    """The `count` texts of raw contents.

    Raises:
        ValueError: The contents are cut short, hold another number of texts, or are not UTF-8.
    """
    size = len(data) - _LENGTH.size
    if count == 1 and size >= 0 and _LENGTH.unpack_from(data)[0] == size:
        return [data[_LENGTH.size :].decode()]
    values = []
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH.size
        if start > len(data):
            raise ValueError("ends inside a length")
        offset = start + _LENGTH.unpack_from(data, offset)[0]
        if offset > len(data):
            raise ValueError("ends inside an element")
        values.append(data[start:offset].decode())
    if len(values) != count:
        raise ValueError(f"has {len(values)} elements; it must have {count}")
    return values


def varint(value: int) -> bytes:
    """A number at or above 0, as protobuf writes it."""
    parts = bytearray()
    while value > _LARGEST_OF_A_BYTE:
        parts.append(value & _LARGEST_OF_A_BYTE | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def field(tag: int, payload: bytes) -> bytes:
    """A length-delimited field of a protobuf message, behind its one-byte tag."""
    size = len(payload)
    if size <= _LARGEST_OF_A_BYTE:
        return bytes((tag, size)) + payload
    return bytes((tag,)) + varint(size) + payload
