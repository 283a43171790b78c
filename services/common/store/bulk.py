"""Many rows of one shape at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Dialect, Table

Bind: TypeAlias = Callable[[Any], Any]

_MARKS: Final = {"qmark": "?", "pyformat": "%s", "format": "%s"}
_ROWS_PER_STATEMENT: Final = 500
"""SQLite takes 32,766 values in one statement, PostgreSQL 65,535."""


@dataclass(frozen=True)
class BulkInsert:
    """An INSERT of rows by the hundred, whose values go to the driver as they are.

    SQLAlchemy readies each value of each row, which takes longer for a small row than the
    database does; here only the columns whose type asks for it are touched.

    Attributes:
        table: Into which.
        columns: The values of a row, in this order; at most 65.
    """

    table: Table
    columns: tuple[str, ...]

    def run(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert `rows`."""
        binds = _binds(self, connection.dialect)
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            by_column: list[Sequence[object]] = list(zip(*part, strict=True))
            for place, bind in binds:
                by_column[place] = [bind(value) for value in by_column[place]]
            values = tuple(chain.from_iterable(zip(*by_column, strict=True)))
            connection.exec_driver_sql(_statement(self, connection.dialect, len(part)), values)


@lru_cache(maxsize=32)
def _binds(insert: BulkInsert, dialect: Dialect) -> Sequence[tuple[int, Bind]]:
    """What must become of the values at some places of a row."""
    found = []
    for place, name in enumerate(insert.columns):
        bind = insert.table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        if bind is not None:
            found.append((place, bind))
    return found


@lru_cache(maxsize=8)
def _statement(insert: BulkInsert, dialect: Dialect, rows: int) -> str:
    preparer = dialect.identifier_preparer
    names = ", ".join(preparer.quote(name) for name in insert.columns)
    row = f"({', '.join([_MARKS[dialect.paramstyle]] * len(insert.columns))})"
    into = f"INSERT INTO {preparer.format_table(insert.table)} ({names})"
    return f"{into} VALUES {', '.join([row] * rows)}"
