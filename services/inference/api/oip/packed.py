"""Reads serialized requests without decoding their tensors.

A `ModelInferRequest` begins with its leading fields (model, version, id, parameters), goes on
with the description of its inputs and outputs, and ends with the raw contents. From one client
the description is the same bytes in each request, so it is understood once and then compared.
A request in which anything is unusual is decoded whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from services.common.errors import FieldViolation, InvalidRequest
from services.inference.api.oip.decode import query_of, routed_query
from services.inference.core.layouts import PackedTensors, TensorLayout
from services.inference.core.predictions import Query
from services.inference.core.signature import Datatype
from services.inference.core.wire import varint

# tritonclient ships no stubs for its generated messages.
_Message = Any

# Tags of the fields of `ModelInferRequest`, all of them length-delimited.
_LEADING: Final = frozenset({0x0A, 0x12, 0x1A, 0x22})
_INPUT: Final = 0x2A
_OUTPUT: Final = 0x32
_CONTENT: Final = 0x3A

_FLOAT_BYTES: Final = 4
_MAX_LAYOUTS: Final = 1024
_MAX_LAYOUT_BYTES: Final = 16 * 1024
_MAX_LAYOUTS_OF_ONE_INPUT: Final = 4
_MAX_VARINT_BYTES: Final = 4
_NO_NUMBERS: Final = np.empty((0, 1), dtype=np.float32)


class RequestReader:
    """Turns serialized requests into queries; learns the layouts it meets."""

    def __init__(self) -> None:
        # By the bytes of the first input, which hold its name, type and shape.
        self._layouts: dict[bytes, list[_WireLayout]] = {}

    def query(self, data: bytes) -> Query:
        """The query that a serialized `ModelInferRequest` means.

        Raises:
            InvalidRequest: The bytes are none.
            InvalidTensors, UnsupportedParameter: As `query_of`.
        """
        try:
            found = self._known(data)
            if found is not None:
                leading, layout, tensors = found
                return routed_query(leading, tensors, layout.outputs, len(data))
            request = pb.ModelInferRequest.FromString(data)
        except DecodeError as error:
            violation = FieldViolation("", "its bytes are no ModelInferRequest")
            raise InvalidRequest([violation]) from error
        query = query_of(request)
        self._learn(data, request)
        return query

    def _known(self, data: bytes) -> tuple[_Message, _WireLayout, PackedTensors] | None:
        """The leading fields, the layout and the values; None if the request must be decoded."""
        start = _inputs_start(data)
        if start < 0:
            return None
        for layout in self._layouts.get(data[start : _field_end(data, start)], ()):
            if data.startswith(layout.description, start):
                tensors = layout.tensors(data, start)
                if tensors is not None:
                    return pb.ModelInferRequest.FromString(data[:start]), layout, tensors
        return None

    def _learn(self, data: bytes, request: _Message) -> None:
        start = _inputs_start(data)
        layout = None if start < 0 else _wire_layout(data, start, request)
        if layout is None:
            return
        if len(self._layouts) >= _MAX_LAYOUTS:
            del self._layouts[next(iter(self._layouts))]
        alike = self._layouts.setdefault(data[start : _field_end(data, start)], [])
        alike.insert(0, layout)
        del alike[_MAX_LAYOUTS_OF_ONE_INPUT:]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Contents of FP32 tensors that follow each other, each behind its tag and its length."""

    dtype: np.dtype[Any]
    count: int
    size_bytes: int
    heads: bytes


@dataclass(frozen=True, slots=True)
class _WireLayout:
    """What the description of a request says.

    Attributes:
        description: The bytes between the leading fields and the contents.
        runs: FP32 tensors that follow each other, or None for one BYTES tensor.
    """

    description: bytes
    outputs: tuple[str, ...]
    layout: TensorLayout
    runs: tuple[_Numbers | None, ...]

    def tensors(self, data: bytes, start: int) -> PackedTensors | None:
        """The contents of a request whose description begins at `start`.

        None if they are not exactly what is described.
        """
        position = start + len(self.description)
        blocks: list[NDArray[np.float32]] = []
        texts: list[bytes] = []
        size = len(data)
        for run in self.runs:
            if run is None:
                if position >= size or data[position] != _CONTENT:
                    return None
                begin, end = _payload(data, position)
                if end < 0:
                    return None
                texts.append(data[begin:end])
                position = end
                continue
            if position + run.size_bytes > size:
                return None
            fields = np.frombuffer(data, run.dtype, run.count, position)
            if fields["head"].tobytes() != run.heads:
                return None
            blocks.append(fields["values"])
            position += run.size_bytes
        if position != size:
            return None
        match blocks:
            case []:
                numeric = _NO_NUMBERS
            case [only]:
                numeric = only.copy()
            case _:
                numeric = np.concatenate(blocks)
        # Outputs are chosen here, where the decision needs more than the caller asked for.
        source = None if self.outputs else (data, start)
        return PackedTensors(self.layout, numeric, texts, source)


def _wire_layout(data: bytes, start: int, request: _Message) -> _WireLayout | None:
    """What `request` teaches; None if it has what no layout holds."""
    end = start
    while end < len(data) and data[end] in (_INPUT, _OUTPUT):
        end = _field_end(data, end)
    shapes = {tuple(tensor.shape) for tensor in request.inputs}
    if end - start > _MAX_LAYOUT_BYTES or len(shapes) != 1:
        return None
    (shape,) = shapes
    # Each row takes bytes, so a larger count is a lie, and would be one of the memory to set aside.
    if len(shape) != 2 or not 1 <= shape[0] <= len(data) or shape[1] != 1:
        return None
    tensors = []
    for tensor in request.inputs:
        if tensor.datatype not in ("FP32", "BYTES") or tensor.HasField("contents"):
            return None
        tensors.append((tensor.name, Datatype(tensor.datatype)))
    if any(output.parameters for output in request.outputs):
        return None
    layout = _WireLayout(
        data[start:end],
        tuple(output.name for output in request.outputs),
        TensorLayout(tensors, shape[0]),
        _runs(tensors, shape[0]),
    )
    return None if layout.tensors(data, start) is None else layout


def _runs(tensors: list[tuple[str, Datatype]], count: int) -> tuple[_Numbers | None, ...]:
    size_bytes = count * _FLOAT_BYTES
    head = bytes([_CONTENT]) + varint(size_bytes)
    dtype = np.dtype([("head", f"V{len(head)}"), ("values", "<f4", (count,))])
    runs: list[_Numbers | None] = []
    length = 0
    for _, datatype in [*tensors, ("", Datatype.BYTES)]:
        if datatype is Datatype.FP32:
            length += 1
            continue
        if length:
            runs.append(_Numbers(dtype, length, length * dtype.itemsize, head * length))
        runs.append(None)
        length = 0
    return tuple(runs[:-1])


def _inputs_start(data: bytes) -> int:
    """Where the inputs begin, right after the leading fields; -1 if they don't."""
    position, size = 0, len(data)
    while 0 <= position < size:
        tag = data[position]
        if tag == _INPUT:
            return position
        if tag not in _LEADING:
            return -1
        position = _field_end(data, position)
    return -1


def _field_end(data: bytes, position: int) -> int:
    """Where the length-delimited field ends whose tag is at `position`; -1 if it is cut short."""
    return _payload(data, position)[1]


def _payload(data: bytes, position: int) -> tuple[int, int]:
    """Where the payload of that field begins and ends; an end of -1 if it is cut short."""
    size = shift = 0
    for start in range(position + 1, min(position + 1 + _MAX_VARINT_BYTES, len(data))):
        byte = data[start]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            end = start + 1 + size
            return start + 1, end if end <= len(data) else -1
        shift += 7
    return -1, -1
