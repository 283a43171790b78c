"""Which rows of a table are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from services.registry.core.columns import CleaningCounts
from services.registry.core.errors import ColumnNotFound
from services.registry.core.snapshots import CleaningRules


def check_columns(table: pa.Table, path: str, rules: CleaningRules) -> None:
    """Pass only a table that has every column that the rules name.

    Raises:
        ColumnNotFound: It lacks some.
    """
    missing = [name for name in rules.columns_that_must_hold if name not in table.column_names]
    if missing:
        raise ColumnNotFound(path, missing)


def cleaned(
    table: pa.Table, rules: CleaningRules, earlier: Sequence[pa.Table]
) -> tuple[pa.Table, CleaningCounts]:
    """The rows that are kept, in their order, and what became of the others.

    Unusable rows go first, so that a complete row isn't lost to an unusable one of
    the same key; of duplicates the first stays.

    Args:
        table: All rows, in canonical types.
        rules: Which to keep; their columns exist.
        earlier: The key columns of rows that the snapshot holds already.
    """
    usable = _usable(table, rules.columns_that_must_hold)
    kept = usable.take(_first_of_each(usable, key_columns(usable, rules), earlier))
    counts = CleaningCounts(
        rows_read=table.num_rows,
        duplicates=usable.num_rows - kept.num_rows,
        unusable=table.num_rows - usable.num_rows,
        rows_kept=kept.num_rows,
    )
    return kept, counts


def key_columns(table: pa.Table, rules: CleaningRules) -> list[str]:
    """The columns that tell duplicates: the declared keys, or all."""
    return list(rules.key_columns) or list(table.column_names)


def _usable(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    if not columns:
        return table
    return table.filter(reduce(pc.and_, (pc.is_valid(table[name]) for name in columns)))


def _first_of_each(table: pa.Table, keys: Sequence[str], earlier: Sequence[pa.Table]) -> pa.Array:
    known = pa.concat_tables([*(part.select(keys) for part in earlier), table.select(keys)])
    numbered = [f"key{index}" for index in range(len(keys))]
    rows = known.rename_columns(numbered).append_column(
        "row", pa.array(range(known.num_rows), pa.int64())
    )
    firsts = rows.group_by(numbered, use_threads=False).aggregate([("row", "min")])["row_min"]
    offset = known.num_rows - table.num_rows
    new = pc.subtract(firsts.filter(pc.greater_equal(firsts, offset)), offset)
    return new.take(pc.sort_indices(new)).combine_chunks()
