"""What each column of a table holds."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from services.registry.adapters.parquet.types import column_type
from services.registry.core.columns import (
    DISTINCT_CAP,
    TOP_VALUES,
    Column,
    ColumnReport,
    ColumnType,
    TimeWindow,
    ValueCount,
)

_NUMBERS: Final = (ColumnType.INT64, ColumnType.FLOAT64)
_CATEGORIES: Final = (ColumnType.STRING, ColumnType.BOOL)
_MAX_VALUE_LENGTH: Final = 200  # characters; a column of essays must not swell the report


def report_on(name: str, values: pa.ChunkedArray) -> ColumnReport:
    """A report on one column."""
    kind = column_type(values.type)
    smallest = largest = mean = None
    if kind in _NUMBERS:
        smallest, largest = _extremes(values)
        mean = pc.mean(values).as_py()
    return ColumnReport(
        column=Column(name, kind),
        null_count=values.null_count,
        minimum=None if smallest is None else float(smallest),
        maximum=None if largest is None else float(largest),
        mean=mean,
        distinct_count=min(pc.count_distinct(values, mode="only_valid").as_py(), DISTINCT_CAP),
        top_values=_top_values(values) if kind in _CATEGORIES else (),
    )


def window_of(values: pa.ChunkedArray) -> TimeWindow | None:
    """First and last moment of a timestamp or date column; None if it has none."""
    start, end = _extremes(values.cast(pa.timestamp("us", tz="UTC")))
    return None if start is None else TimeWindow(start, end)


def _extremes(values: pa.ChunkedArray) -> tuple[Any, Any]:
    extremes = pc.min_max(values)
    return extremes["min"].as_py(), extremes["max"].as_py()


def _top_values(values: pa.ChunkedArray) -> tuple[ValueCount, ...]:
    counts = pc.value_counts(values.drop_null())
    ranked = pa.table(
        {"value": counts.field("values").cast(pa.string()), "count": counts.field("counts")}
    ).sort_by([("count", "descending"), ("value", "ascending")])
    return tuple(
        ValueCount(row["value"][:_MAX_VALUE_LENGTH], row["count"])
        for row in ranked.slice(0, TOP_VALUES).to_pylist()
    )
