"""Observations joined with outcomes, as rows to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.monitor.adapters.log.delta_log import POSITION, ROW
from services.monitor.core.stream.batches import FEATURE_PREFIX

PREDICTION_ID: Final = "prediction_id"

_TIME: Final = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class TrainingColumns:
    """What the rows of a training job are made of.

    Attributes:
        numeric: Features that are numbers.
        categorical: Features that are words.
        target: Column of the outcome.
        time: Column of the event time.
    """

    numeric: Sequence[str]
    categorical: Sequence[str]
    target: str
    time: str

    @property
    def schema(self) -> pa.Schema:
        """Of the rows; the same whether they come from a snapshot or from the log."""
        return pa.schema(
            [
                (PREDICTION_ID, pa.string()),
                (self.time, _TIME),
                *((name, pa.float64()) for name in self.numeric if name != self.time),
                *((name, pa.string()) for name in self.categorical if name != self.time),
                (self.target, pa.int64()),
            ]
        )


def joined(observations: pa.Table, outcomes: pa.Table, columns: TrainingColumns) -> pa.Table:
    """Each prediction once, with its last outcome, by event time; those without one left out.

    Of several predictions with one id the first that came counts, of several outcomes the
    latest by its own time.
    """
    first = _first_per_id(observations.sort_by([(POSITION, "ascending"), (ROW, "ascending")]))
    order = [("event_time", "descending"), (POSITION, "descending"), (ROW, "descending")]
    last = _first_per_id(outcomes.sort_by(order)).select([PREDICTION_ID, "outcome"])
    rows = first.join(last, PREDICTION_ID, join_type="inner")
    arrays = {
        PREDICTION_ID: rows.column(PREDICTION_ID),
        **{name: _feature(rows, name, pa.float64()) for name in columns.numeric},
        **{name: _feature(rows, name, pa.string()) for name in columns.categorical},
        columns.time: rows.column("event_time"),
        columns.target: rows.column("outcome"),
    }
    table = pa.table({name: arrays[name] for name in columns.schema.names}).cast(columns.schema)
    return table.sort_by([(columns.time, "ascending"), (PREDICTION_ID, "ascending")])


def template_rows(snapshot: pa.Table, columns: TrainingColumns) -> pa.Table:
    """The rows of an earlier snapshot, in their order, with the same columns."""
    arrays = {
        name: snapshot.column(name)
        for name in columns.schema.names
        if name in snapshot.column_names
    }
    for name in columns.schema.names:
        if name not in arrays:
            arrays[name] = pa.nulls(snapshot.num_rows, columns.schema.field(name).type)
    return pa.table({name: arrays[name] for name in columns.schema.names}).cast(columns.schema)


def parquet_bytes(rows: pa.Table) -> tuple[bytes, str]:
    """The rows as one file, and its digest; equal rows give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.combine_chunks(), sink, compression="zstd", write_statistics=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content, f"sha256:{hashlib.sha256(content).hexdigest()}"


def _first_per_id(rows: pa.Table) -> pa.Table:
    numbered = rows.append_column("_order", pa.array(range(rows.num_rows), pa.int64()))
    kept = numbered.group_by(PREDICTION_ID).aggregate([("_order", "min")]).column("_order_min")
    return rows.take(kept.take(pc.sort_indices(kept)))


def _feature(rows: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = FEATURE_PREFIX + name
    if column not in rows.column_names:
        return pa.chunked_array([pa.nulls(rows.num_rows, kind)])
    return rows.column(column).cast(kind)
