"""Rows by the hundred arrive as those that SQLAlchemy inserts one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError

from services.common.store.bulk import BulkInsert
from services.common.store.database import Database
from services.common.store.types import UtcDateTime

METADATA = MetaData()
THING = Table(
    "thing",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("order", String(40), nullable=False),
    Column("value", Float),
    Column("time", UtcDateTime, nullable=False),
)
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
        (i, f"a 'quoted' % {i}?", None if i % 3 else i / 7, START + timedelta(seconds=i / 7))
        for i in range(count)
    ]
    insert = BulkInsert(THING, ("id", "order", "value", "time"))
    await database.write(lambda connection: insert.run(connection, given))
    found = await database.read(
        lambda connection: connection.execute(select(THING).order_by(THING.c.id)).all()
    )
    assert [tuple(row) for row in found] == given


async def test_a_row_that_is_there_already_is_an_error_and_none_of_the_others_stays(database):
    insert = BulkInsert(THING, ("id", "order", "value", "time"))
    given = [(i, "first", 0.5, START) for i in range(3)]
    await database.write(lambda connection: insert.run(connection, given))
    with pytest.raises(IntegrityError):
        await database.write(
            lambda connection: insert.run(connection, [(i, "then", 1.5, START) for i in (4, 1)])
        )
    found = await database.read(
        lambda connection: connection.execute(select(THING.c.id, THING.c.order)).all()
    )
    assert sorted(map(tuple, found)) == [(i, "first") for i in range(3)]
