"""Uploaded CSV and Parquet as canonical Arrow tables."""

from __future__ import annotations

import os
import re
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from services.common.errors import FieldViolation
from services.registry.adapters.parquet.types import (
    ARROW_TYPES,
    UnsupportedType,
    canonical,
    column_type,
)
from services.registry.core.columns import ColumnType
from services.registry.core.errors import SchemaMismatch, UnreadableFile
from services.registry.core.snapshots import TableFormat

_MAX_BLOCK: Final = 2**31 - 1
_CONVERSION_ERROR: Final = re.compile(r"In CSV column #(\d+): (.*)", re.DOTALL)
# Inference would read digits as numbers and drop their leading zeros, or differ by file.
_TYPES_TOLD_TO_CSV: Final = (pa.string(), pa.float64(), pa.int64(), pa.bool_())


def read_table(
    source: BinaryIO, path: str, file_format: TableFormat, expected: pa.Schema | None
) -> pa.Table:
    """All rows of an upload, in canonical types and, if given, in the expected schema.

    Args:
        source: The bytes, from their beginning.
        path: For errors.
        file_format: Of `source`.
        expected: The canonical schema of the snapshot's other files.

    Raises:
        UnreadableFile: It isn't such a file, or has a column of no canonical type.
        SchemaMismatch: Its columns aren't the expected ones.
    """
    if file_format is TableFormat.CSV:
        table = _read_csv(source, path, expected)
    else:
        table = _read_parquet(source, path)
    _check_names(table, path, file_format)
    table = _canonical_table(table, path, file_format)
    return table if expected is None else _conformed(table, path, expected)


def _read_parquet(source: BinaryIO, path: str) -> pa.Table:
    try:
        return pq.ParquetFile(source).read()
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(path, TableFormat.PARQUET, str(error)) from error


def _read_csv(source: BinaryIO, path: str, expected: pa.Schema | None) -> pa.Table:
    bad_rows: list[pyarrow.csv.InvalidRow] = []

    def on_bad_row(row: pyarrow.csv.InvalidRow) -> str:
        bad_rows.append(row)
        return "error"

    told = {field.name: field.type for field in expected or () if field.type in _TYPES_TOLD_TO_CSV}
    try:
        return _parse_csv(source, told, on_bad_row)
    except (pa.ArrowException, OSError) as error:
        if bad_rows:
            row = bad_rows[0]
            fault = f"{row.actual_columns} values where {row.expected_columns} are expected"
            raise UnreadableFile(path, TableFormat.CSV, fault, row=row.number) from error
        bad_value = _CONVERSION_ERROR.match(str(error))
        if bad_value is None or expected is None:
            raise UnreadableFile(path, TableFormat.CSV, str(error)) from error
        source.seek(0)
        column = source.readline().decode().rstrip("\r\n").split(",")[int(bad_value[1])].strip('"')
        raise SchemaMismatch(path, [FieldViolation(column, bad_value[2])]) from error


def _parse_csv(
    source: BinaryIO, column_types: dict[str, pa.DataType], on_bad_row: object
) -> pa.Table:
    source.seek(0, os.SEEK_END)
    size_bytes = source.tell()
    source.seek(0)
    return pyarrow.csv.read_csv(
        source,
        # One block: types are inferred from all rows, not from the first megabyte.
        # One thread: only then does Arrow number a bad row.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=min(size_bytes + 1, _MAX_BLOCK)
        ),
        parse_options=pyarrow.csv.ParseOptions(
            invalid_row_handler=on_bad_row, newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            null_values=["", "NA"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            column_types=column_types,
        ),
    )


def _check_names(table: pa.Table, path: str, file_format: TableFormat) -> None:
    names = table.column_names
    if not names:
        raise UnreadableFile(path, file_format, "it has no columns")
    for name in names:
        if not name.strip():
            raise UnreadableFile(path, file_format, "a column has no name")
        if names.count(name) > 1:
            raise UnreadableFile(path, file_format, "the name occurs twice", column=name)


def _canonical_table(table: pa.Table, path: str, file_format: TableFormat) -> pa.Table:
    columns = []
    for name in table.column_names:
        column = table[name]
        try:
            columns.append(canonical(column))
        except (UnsupportedType, pa.ArrowException) as error:
            fault, row = str(error), None
            if file_format is TableFormat.CSV and pa.types.is_binary(column.type):
                fault, row = "it isn't UTF-8", _first_undecodable(column)
            raise UnreadableFile(path, file_format, fault, column=name, row=row) from error
    return pa.table(columns, names=table.column_names)


def _first_undecodable(column: pa.ChunkedArray) -> int | None:
    for index, value in enumerate(column):
        try:
            (value.as_py() or b"").decode()
        except UnicodeDecodeError:
            return index + 2  # the header is row 1
    return None


def _conformed(table: pa.Table, path: str, expected: pa.Schema) -> pa.Table:
    faults = [
        FieldViolation(name, "the other files don't have it")
        for name in table.column_names
        if name not in expected.names
    ]
    columns = []
    for field in expected:
        if field.name not in table.column_names:
            faults.append(FieldViolation(field.name, "the other files have it"))
            continue
        column = table[field.name]
        if _casts_without_loss(column, field.type):
            columns.append(column.cast(field.type))
        else:
            fault = f"{column.type} here, {field.type} in the other files"
            faults.append(FieldViolation(field.name, fault))
    if faults:
        raise SchemaMismatch(path, faults)
    return pa.table(columns, schema=expected)


def _casts_without_loss(column: pa.ChunkedArray, wanted: pa.DataType) -> bool:
    if column.type == wanted or column.null_count == len(column):
        return True
    if (
        column.type != ARROW_TYPES[ColumnType.INT64]
        or column_type(wanted) is not ColumnType.FLOAT64
    ):
        return False
    return bool(pc.all(pc.less_equal(pc.abs(column), 2**53)).as_py())
