"""How observations lie in a segment file, and how they become Arrow.

A segment is a run of frames: length and CRC-32 of the payload, then the payload.
A layout frame names an endpoint, a variant and its features; the row frames that
follow refer to it by number, so a row costs little more than its values.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.inference.core.ports import Observation
from services.inference.core.signature import Signature

_FRAME: Final = struct.Struct("<II")
_ROWS: Final = struct.Struct("<BHqIH")
_REQUEST: Final = struct.Struct("<IB")
_TEXT: Final = struct.Struct("<I")
_LAYOUT_KIND: Final = 1
_ROWS_KIND: Final = 2
"""As releases before the latency was told left them; still read, no longer written."""

_REQUEST_KIND: Final = 3
_LONGEST_US: Final = 2**32 - 1
_SLICE_BYTES: Final = 512 * 1024
_FIXED_ROW_BYTES: Final = 64


def layout_frame(number: int, observation: Observation) -> bytes:
    """Says what the row frames with this number hold."""
    signature: Signature = observation.signature
    document = {
        "number": number,
        "endpoint": observation.endpoint,
        "variant": observation.variant,
        "policy": observation.policy,
        "fallback": observation.fallback,
        "numeric": [spec.name for spec in signature.numeric],
        "text": [spec.name for spec in signature.text],
    }
    return _frame(bytes([_LAYOUT_KIND]) + json.dumps(document).encode())


def rows_frame(number: int, observation: Observation) -> bytes:
    """Every row of `observation`."""
    rows = observation.rows
    prediction_id = observation.prediction_id.encode()
    parts = [
        _ROWS.pack(
            _REQUEST_KIND, number, observation.event_time_us, rows.count, len(prediction_id)
        ),
        _REQUEST.pack(min(observation.latency_us, _LONGEST_US), observation.failed),
        prediction_id,
        observation.scores.astype("<f4", copy=False).tobytes(),
        observation.labels.astype(np.int8).tobytes(),
        rows.numeric.tobytes(),
    ]
    for values in rows.text:
        for value in values:
            encoded = value.encode()
            parts += (_TEXT.pack(len(encoded)), encoded)
    return _frame(b"".join(parts))


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class _Layout:
    endpoint: str
    variant: str
    numeric: list[str]
    text: list[str]
    policy: str = ""
    fallback: str = ""
    ids: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    labels: list[NDArray[np.int8]] = field(default_factory=list)
    latencies_us: list[int | None] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    matrices: list[NDArray[np.float32]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)

    def add(self, payload: memoryview) -> None:
        kind, _, time_us, count, id_bytes = _ROWS.unpack_from(payload)
        offset = _ROWS.size
        latency_us, failed = None, False
        if kind == _REQUEST_KIND:
            latency_us, failed = _REQUEST.unpack_from(payload, offset)
            offset += _REQUEST.size
        self.latencies_us += [latency_us] + [None] * (count - 1)
        self.failed += [bool(failed)] * count
        prediction_id = bytes(payload[offset : offset + id_bytes]).decode()
        offset += id_bytes
        self.ids += [f"{prediction_id}:{row}" for row in range(count)]
        self.times += [time_us] * count
        self.scores.append(np.frombuffer(payload, "<f4", count, offset))
        offset += 4 * count
        self.labels.append(np.frombuffer(payload, np.int8, count, offset))
        offset += count
        values = len(self.numeric) * count
        matrix = np.frombuffer(payload, "<f4", values, offset)
        self.matrices.append(matrix.reshape(len(self.numeric), count))
        offset += 4 * values
        for column in self.texts:
            for _ in range(count):
                start = offset + _TEXT.size
                offset = start + _TEXT.unpack_from(payload, offset)[0]
                column.append(bytes(payload[start:offset]).decode())

    def batch(self) -> pa.RecordBatch:
        count = len(self.ids)
        matrix = np.concatenate(self.matrices, axis=1)
        columns: dict[str, Any] = {
            "prediction_id": pa.array(self.ids, pa.string()),
            "event_time": pa.array(self.times, pa.timestamp("us", tz="UTC")),
            "endpoint": pa.array([self.endpoint] * count, pa.string()),
            "variant": pa.array([self.variant] * count, pa.string()),
            "score": pa.array(np.concatenate(self.scores), pa.float32()),
            "label": pa.array(np.concatenate(self.labels).astype(np.int64), pa.int64()),
        }
        for name, value in (("policy", self.policy), ("fallback", self.fallback)):
            if value:
                columns[name] = pa.array([value] * count, pa.string())
        if any(latency_us is not None for latency_us in self.latencies_us):
            columns["latency_us"] = pa.array(self.latencies_us, pa.int64())
            columns["failed"] = pa.array(self.failed, pa.bool_())
        for name, line in zip(self.numeric, matrix, strict=True):
            columns[f"f_{name}"] = pa.array(line, pa.float32())
        for name, values in zip(self.text, self.texts, strict=True):
            columns[f"f_{name}"] = pa.array(values, pa.string())
        return pa.RecordBatch.from_pydict(columns)


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment file holds.

    Attributes:
        batches: One endpoint and variant each, at most about 512 KiB; the same
            file always gives the same batches in the same order.
        rows: Rows in all batches.
        torn_bytes: Length of an unreadable tail: a write that a kill cut short,
            whose request was never answered.
    """

    batches: list[pa.RecordBatch]
    rows: int
    torn_bytes: int


def read_segment(content: bytes) -> Segment:
    """Decode a segment up to its first unreadable frame."""
    layouts: dict[int, _Layout] = {}
    end = 0
    for payload, end in _payloads(content):  # noqa: B007 - `end` is used after the loop
        if payload[0] == _LAYOUT_KIND:
            document = json.loads(bytes(payload[1:]))
            number = document.pop("number")
            layouts[number] = _Layout(**document)
            layouts[number].texts = [[] for _ in layouts[number].text]
        else:
            layouts[_ROWS.unpack_from(payload)[1]].add(payload)
    batches = [
        part for layout in layouts.values() if layout.ids for part in _sliced(layout.batch())
    ]
    return Segment(batches, sum(batch.num_rows for batch in batches), len(content) - end)


def _payloads(content: bytes) -> Iterator[tuple[memoryview, int]]:
    view = memoryview(content)
    offset = 0
    while offset + _FRAME.size <= len(view):
        length, checksum = _FRAME.unpack_from(view, offset)
        start = offset + _FRAME.size
        payload = view[start : start + length]
        if len(payload) < length or not length or zlib.crc32(payload) != checksum:
            return
        offset = start + length
        yield payload, offset


def _sliced(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    per_row = _FIXED_ROW_BYTES + batch.nbytes // batch.num_rows
    step = max(1, _SLICE_BYTES // per_row)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)
