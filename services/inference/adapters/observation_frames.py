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
"""Kind, number of the layout, microseconds since the epoch, rows, length of the id."""

_ROWS_TIME: Final = 3
_REQUEST: Final = struct.Struct("<BHqIHIB")
"""`_ROWS`, then the latency and whether the version failed."""

_TEXT: Final = struct.Struct("<I")
_SCORE: Final = np.dtype("<f4")
_LABEL: Final = np.dtype(np.int8)
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
        _REQUEST.pack(
            _REQUEST_KIND,
            number,
            observation.event_time_us,
            rows.count,
            len(prediction_id),
            min(observation.latency_us, _LONGEST_US),
            observation.failed,
        ),
        prediction_id,
        observation.scores.astype(_SCORE, copy=False).tobytes(),
        observation.labels.astype(_LABEL).tobytes(),
        rows.numeric.tobytes(),
    ]
    for values in rows.text:
        for value in values:
            encoded = value.encode()
            parts += (_TEXT.pack(len(encoded)), encoded)
    return _frame(b"".join(parts))


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


@dataclass(frozen=True, slots=True)
class _Alike:
    """Row frames of one layout that lie alike up to their texts.

    Attributes:
        kind: Of the frames.
        count: Rows of each.
        id_bytes: Length of each one's prediction id.
        places: Where among the layout's frames each stands, ascending.
        payloads: As many.
    """

    kind: int
    count: int
    id_bytes: int
    places: list[int] = field(default_factory=list)
    payloads: list[memoryview] = field(default_factory=list)

    def fixed(self, features: int) -> NDArray[Any]:
        """All but the texts: one structured value per frame."""
        request = [("latency_us", "<u4"), ("failed", "?")] if self.kind == _REQUEST_KIND else []
        dtype = np.dtype(
            [
                ("head", f"V{_ROWS_TIME}"),
                ("time_us", "<i8"),
                ("sizes", f"V{_ROWS.size - _ROWS_TIME - 8}"),
                *request,
                ("id", f"V{self.id_bytes}"),
                ("scores", "<f4", (self.count,)),
                ("labels", "i1", (self.count,)),
                ("values", "<f4", (features, self.count)),
            ]
        )
        heads = [payload[: dtype.itemsize] for payload in self.payloads]
        return np.frombuffer(b"".join(heads), dtype)

    def ids(self, frames: NDArray[Any]) -> list[str]:
        """One of each row."""
        size, joined = self.id_bytes, frames["id"].tobytes()
        ids = [joined[start : start + size].decode() for start in range(0, len(joined), size)]
        return [f"{prediction_id}:{row}" for prediction_id in ids for row in range(self.count)]

    def latencies(self, frames: NDArray[Any]) -> pa.Array:
        """At the first row of each request that told one."""
        latencies_us = np.zeros((len(frames), self.count), np.int64)
        unknown = np.ones((len(frames), self.count), np.bool_)
        if self.kind == _REQUEST_KIND:
            latencies_us[:, 0] = frames["latency_us"]
            unknown[:, 0] = False
        return pa.array(latencies_us.ravel(), pa.int64(), mask=unknown.ravel())

    def failed(self, frames: NDArray[Any]) -> pa.Array:
        """Of each row."""
        if self.kind != _REQUEST_KIND:
            return pa.repeat(pa.scalar(False), len(frames) * self.count)
        return pa.array(np.repeat(frames["failed"], self.count))

    def texts(self, features: int, start: int) -> list[list[str]]:
        """Each text feature's values, behind the first `start` bytes of the frames."""
        columns: list[list[str]] = [[] for _ in range(features)]
        for payload in self.payloads:
            end = start
            for column in columns:
                for _ in range(self.count):
                    begin = end + _TEXT.size
                    end = begin + _TEXT.unpack_from(payload, end)[0]
                    column.append(str(payload[begin:end], "utf-8"))
        return columns


@dataclass(slots=True)
class _Layout:
    """What one layout frame names, and the row frames that refer to it."""

    endpoint: str
    variant: str
    numeric: list[str]
    text: list[str]
    policy: str = ""
    fallback: str = ""
    frames: int = 0
    alike: dict[tuple[int, int, int], _Alike] = field(default_factory=dict)

    def add(self, kind: int, count: int, id_bytes: int, payload: memoryview) -> None:
        """Take a row frame with what its head says."""
        key = (kind, count, id_bytes)
        alike = self.alike.get(key)
        if alike is None:
            alike = self.alike[key] = _Alike(*key)
        alike.places.append(self.frames)
        alike.payloads.append(payload)
        self.frames += 1

    def batch(self) -> pa.RecordBatch:
        """All rows, in the order of their frames."""
        groups = list(self.alike.values())
        batch = pa.concat_batches([self._batch(alike) for alike in groups])
        if len(groups) == 1:
            return batch
        places = np.concatenate([np.repeat(alike.places, alike.count) for alike in groups])
        return batch.take(pa.array(np.argsort(places, kind="stable")))

    def _batch(self, alike: _Alike) -> pa.RecordBatch:
        frames = alike.fixed(len(self.numeric))
        rows = len(frames) * alike.count
        times = pa.array(np.repeat(frames["time_us"], alike.count), pa.int64())
        columns: dict[str, Any] = {
            "prediction_id": pa.array(alike.ids(frames), pa.string()),
            "event_time": times.cast(pa.timestamp("us", tz="UTC")),
            "endpoint": pa.repeat(pa.scalar(self.endpoint), rows),
            "variant": pa.repeat(pa.scalar(self.variant), rows),
            "score": pa.array(frames["scores"].ravel(), pa.float32()),
            "label": pa.array(frames["labels"].ravel().astype(np.int64), pa.int64()),
        }
        for name, value in (("policy", self.policy), ("fallback", self.fallback)):
            if value:
                columns[name] = pa.repeat(pa.scalar(value), rows)
        if any(kind == _REQUEST_KIND for kind, _, _ in self.alike):
            columns["latency_us"] = alike.latencies(frames)
            columns["failed"] = alike.failed(frames)
        for place, name in enumerate(self.numeric):
            columns[f"f_{name}"] = pa.array(frames["values"][:, place].ravel(), pa.float32())
        texts = alike.texts(len(self.text), frames.dtype.itemsize)
        for name, values in zip(self.text, texts, strict=True):
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
        else:
            kind, number, _, count, id_bytes = _ROWS.unpack_from(payload)
            layouts[number].add(kind, count, id_bytes, payload)
    batches = [
        part for layout in layouts.values() if layout.frames for part in _sliced(layout.batch())
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
