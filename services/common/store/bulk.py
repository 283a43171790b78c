"""Many rows of one shape at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias, cast

import psycopg
from sqlalchemy import BigInteger, Connection, Dialect, Integer, Table, select
from sqlalchemy.exc import DBAPIError

Bind: TypeAlias = Callable[[Any], Any]

_ROWS_PER_STATEMENT: Final = 500
"""SQLite takes 32,766 values in one statement."""
_TYPES: Final = "roundhouse_copied_types"


class NarrowInteger(TypeError):
    """The driver would cut values of the column to 32 bits and say nothing (psycopg 3.3)."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column} must be a BigInteger to be inserted in bulk")


@dataclass(frozen=True)
class BulkInsert:
    """An INSERT of rows by the hundred, whose values go to the driver as they are.

    SQLAlchemy readies each value of each row, which takes longer for a small row than the
    database does; here only the columns whose type asks for it are touched. PostgreSQL takes the
    rows by COPY, with a fifth of the CPU time of an INSERT of five hundred; in binary form, since
    that of text takes the driver five times as long.

    Attributes:
        table: Into which.
        columns: The values of a row, in this order; at most 65.

    Raises:
        NarrowInteger: A column is of integers of less than 64 bits.
    """

    table: Table
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.columns:
            kind = self.table.c[name].type
            if isinstance(kind, Integer) and not isinstance(kind, BigInteger):
                raise NarrowInteger(name)

    def run(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert `rows`.

        Raises:
            DBAPIError: As any statement.
        """
        by_column: list[Sequence[object]] = list(zip(*rows, strict=True))
        if not by_column:
            return
        for place, bind in _binds(self, connection.dialect):
            by_column[place] = [bind(value) for value in by_column[place]]
        insert = _inserted if connection.dialect.name == "sqlite" else _copied
        insert(self, connection, list(zip(*by_column, strict=True)))


def _inserted(
    insert: BulkInsert, connection: Connection, rows: Sequence[tuple[object, ...]]
) -> None:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        part = rows[start : start + _ROWS_PER_STATEMENT]
        statement = _insert_statement(insert, connection.dialect, len(part))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


def _copied(insert: BulkInsert, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    statement = _copy_statement(insert, connection.dialect)
    driver = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
    types = _types(insert, connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # What SQLAlchemy does with the errors of statements that it sends itself.
        lost = driver.broken
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement,
            None,
            error,
            psycopg.Error,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error


def _types(insert: BulkInsert, connection: Connection) -> Sequence[int]:
    """The server's numbers for the types of the columns: a binary COPY converts nothing."""
    known: dict[BulkInsert, Sequence[int]] = connection.info.setdefault(_TYPES, {})
    if insert not in known:
        columns = [insert.table.c[name] for name in insert.columns]
        with connection.execute(select(*columns).limit(0)) as nothing:
            cursor = cast("psycopg.Cursor[Any]", nothing.cursor)
            known[insert] = [column.type_code for column in cursor.description or ()]
    return known[insert]


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
def _insert_statement(insert: BulkInsert, dialect: Dialect, rows: int) -> str:
    row = f"({', '.join('?' * len(insert.columns))})"
    into = f"INSERT INTO {_place(insert, dialect)}"
    return f"{into} VALUES {', '.join([row] * rows)}"


@lru_cache(maxsize=8)
def _copy_statement(insert: BulkInsert, dialect: Dialect) -> str:
    return f"COPY {_place(insert, dialect)} FROM STDIN (FORMAT BINARY)"


def _place(insert: BulkInsert, dialect: Dialect) -> str:
    """The table and its columns."""
    preparer = dialect.identifier_preparer
    names = ", ".join(preparer.quote(name) for name in insert.columns)
    return f"{preparer.format_table(insert.table)} ({names})"
