"""The port `TableCleaner` over Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from services.registry.adapters.parquet.cleaning import check_columns, cleaned, key_columns
from services.registry.adapters.parquet.reading import read_table
from services.registry.adapters.parquet.reporting import report_on, window_of
from services.registry.adapters.parquet.types import column_type
from services.registry.core.columns import CleanedTable, Column, ColumnReport, ColumnType
from services.registry.core.errors import UnreadableFile
from services.registry.core.snapshots import CleaningRules, TableFormat

_ROW_GROUP_ROWS: Final = 131_072


class ArrowTableCleaner:
    """Cleans whole tables in memory: a file needs about four times its Parquet's size unpacked."""

    def clean(
        self,
        source: BinaryIO,
        target: BinaryIO,
        *,
        path: str,
        file_format: TableFormat,
        rules: CleaningRules,
        earlier: Sequence[BinaryIO],
    ) -> CleanedTable:
        """See `TableCleaner`."""
        stored = [pq.ParquetFile(file) for file in earlier]
        expected = stored[0].schema_arrow if stored else None
        table = read_table(source, path, file_format, expected)
        check_columns(table, path, rules)
        _check_time_column(table, path, file_format, rules)
        keys = key_columns(table, rules)
        kept, counts = cleaned(table, rules, [file.read(columns=keys) for file in stored])
        pq.write_table(kept, target, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        return CleanedTable(
            schema=tuple(Column(field.name, column_type(field.type)) for field in kept.schema),
            counts=counts,
            columns=tuple(report_on(name, kept[name]) for name in kept.column_names),
            window=window_of(kept[rules.time_column]) if rules.time_column else None,
        )

    def report(self, files: Sequence[BinaryIO]) -> tuple[ColumnReport, ...]:
        """See `TableCleaner`."""
        stored = [pq.ParquetFile(file) for file in files]
        return tuple(
            report_on(name, pa.concat_tables([file.read(columns=[name]) for file in stored])[name])
            for name in stored[0].schema_arrow.names
        )


def _check_time_column(
    table: pa.Table, path: str, file_format: TableFormat, rules: CleaningRules
) -> None:
    if not rules.time_column:
        return
    kind = column_type(table.schema.field(rules.time_column).type)
    if kind not in (ColumnType.TIMESTAMP, ColumnType.DATE):
        fault = f"it is {kind}; the time column must be a timestamp or a date"
        raise UnreadableFile(path, file_format, fault, column=rules.time_column)
