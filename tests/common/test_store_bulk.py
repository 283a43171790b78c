"""Rows by the hundred arrive as those that SQLAlchemy inserts one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    select,
)
from sqlalchemy.exc import IntegrityError

from services.common.store.bulk import BulkInsert, NarrowInteger
from services.common.store.database import Database
from services.common.store.types import SequenceNumber, UtcDateTime

METADATA = MetaData()
THING = Table(
    "thing",
    METADATA,
    Column("id", SequenceNumber, primary_key=True),
    Column("order", String(40), nullable=False),
    Column("value", Float),
    Column("time", UtcDateTime, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("ready", Boolean, nullable=False),
)
COLUMNS = ("time", "id", "order", "value", "count", "ready")
NARROW = Table("narrow", MetaData(), Column("int", Integer), Column("small", SmallInteger))
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.write_now(METADATA.create_all)
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1234])
async def test_all_rows_are_there_as_given(database, count):
    given = [
        (
            START + timedelta(seconds=i / 7),
            i,
            f"a 'quoted' % {i}?\n\t\\N é",
            None if i % 3 else i / 7,
            2**63 - 1 - i if i % 2 else -(2**63) + i,
            i % 2 == 0,
        )
        for i in range(count)
    ]
    insert = BulkInsert(THING, COLUMNS)
    await database.write(lambda connection: insert.run(connection, given))
    columns = [THING.c[name] for name in COLUMNS]
    found = await database.read(
        lambda connection: connection.execute(select(*columns).order_by(THING.c.id)).all()
    )
    assert [tuple(row) for row in found] == given


async def test_a_row_that_is_there_already_is_an_error_and_none_of_the_others_stays(database):
    insert = BulkInsert(THING, COLUMNS)
    given = [(START, i, "first", 0.5, 1, True) for i in range(3)]
    await database.write(lambda connection: insert.run(connection, given))
    with pytest.raises(IntegrityError):
        await database.write(
            lambda connection: insert.run(
                connection, [(START, i, "then", 1.5, 1, True) for i in (4, 1)]
            )
        )
    found = await database.read(
        lambda connection: connection.execute(select(THING.c.id, THING.c.order)).all()
    )
    assert sorted(map(tuple, found)) == [(i, "first") for i in range(3)]


@pytest.mark.parametrize("column", ["int", "small"])
def test_integers_that_the_driver_would_cut_are_refused(column: str) -> None:
    with pytest.raises(NarrowInteger):
        BulkInsert(NARROW, (column,))
