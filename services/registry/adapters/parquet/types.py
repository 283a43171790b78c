"""Arrow's many types cast to the few of canonical files."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from services.registry.core.columns import ColumnType

ARROW_TYPES: Final = {
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.STRING: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    ColumnType.DATE: pa.date32(),
}


class UnsupportedType(Exception):
    """Canonical files have no such type."""


def canonical(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in a canonical type; NaN and infinities become nulls.

    Timestamps without a zone are taken as UTC; a column without any value is a string.

    Raises:
        UnsupportedType: Values of this type have no place in a canonical file.
        pyarrow.ArrowInvalid: A value doesn't fit, such as an unsigned 64-bit number.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return canonical(column.cast(kind.value_type))
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    if pa.types.is_timestamp(kind):
        return _utc(column)
    if pa.types.is_date(kind):
        return column.cast(pa.date32())
    if pa.types.is_boolean(kind):
        return column
    if _is_text(kind) or pa.types.is_time(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    raise UnsupportedType(f"{kind} is none of numbers, text, booleans, dates and timestamps")


def column_type(arrow_type: pa.DataType) -> ColumnType:
    """The canonical type that Arrow writes as `arrow_type`."""
    return ColumnType(str(arrow_type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # What is finer than a microsecond is cut off: no clock of ours resolves it.
    if column.type.tz is None:
        return pc.assume_timezone(column.cast(pa.timestamp("us"), safe=False), "UTC")
    return column.cast(pa.timestamp("us", tz="UTC"), safe=False)
