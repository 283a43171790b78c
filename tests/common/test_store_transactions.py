"""Transactions, request ids and migrations on every database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from services.common.store import requests
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.common.store.tables import LEASE, METADATA, REQUEST
from tests.support.store import common_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with common_database(database_url, tmp_path) as opened:
        yield opened


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def half(tx):
        requests.remember(tx, str(uuid.uuid4()), "f", b"r", NOW)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await database.write(half)
    assert await database.read(lambda tx: tx.execute(select(REQUEST)).all()) == []


async def test_concurrent_read_modify_writes_lose_no_update(
    database: Database, database_url: str
) -> None:
    other = Database(database_url)

    def increment(tx):
        row = tx.execute(select(LEASE.c.fence).where(LEASE.c.name == "n")).one_or_none()
        if row is None:
            tx.execute(LEASE.insert().values(name="n", holder="", fence=1, expire_time=NOW))
        else:
            tx.execute(LEASE.update().where(LEASE.c.name == "n").values(fence=row.fence + 1))

    try:
        await asyncio.gather(*(db.write(increment) for db in [database, other] * 40))
        fence = await database.read(lambda tx: tx.execute(select(LEASE.c.fence)).scalar_one())
    finally:
        other.close()
    assert fence == 80


async def test_a_read_sees_one_moment(database: Database) -> None:
    def count_twice(tx):
        first = len(tx.execute(select(REQUEST)).all())
        database.write_now(lambda w: requests.remember(w, str(uuid.uuid4()), "f", b"", NOW))
        return first, len(tx.execute(select(REQUEST)).all())

    assert await database.read(count_twice) == (0, 0)


async def test_the_answer_to_a_request_id_comes_again(database: Database) -> None:
    request_id = str(uuid.uuid4())
    assert await database.write(lambda tx: requests.replay(tx, request_id, "f")) is None
    await database.write(lambda tx: requests.remember(tx, request_id, "f", b"answer", NOW))
    assert await database.read(lambda tx: requests.replay(tx, request_id, "f")) == b"answer"


async def test_a_request_id_with_other_content_is_refused(database: Database) -> None:
    request_id = str(uuid.uuid4())
    await database.write(lambda tx: requests.remember(tx, request_id, "f", b"", NOW))
    with pytest.raises(requests.RequestIdReused) as caught:
        await database.read(lambda tx: requests.replay(tx, request_id, "g"))
    assert caught.value.metadata == {"request_id": request_id}


async def test_answers_past_retention_are_dropped(database: Database) -> None:
    old, new = str(uuid.uuid4()), str(uuid.uuid4())
    late = NOW + requests.RETENTION + timedelta(seconds=1)
    await database.write(lambda tx: requests.remember(tx, old, "f", b"", NOW))
    await database.write(lambda tx: requests.remember(tx, new, "f", b"", late))
    kept = await database.read(lambda tx: tx.execute(select(REQUEST.c.request_id)).scalars().all())
    assert kept == [new]


async def test_the_migrated_schema_is_the_declared_one(database: Database, tmp_path: Path) -> None:
    await migrate(database, tmp_path)

    def difference(tx):
        context = MigrationContext.configure(tx, opts={"compare_type": False})
        return [d for d in compare_metadata(context, METADATA) if "alembic_version" not in str(d)]

    assert await database.write(difference) == []


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://root@localhost/x", "must be sqlite"),
    ],
)
def test_an_unusable_database_url_is_refused_with_what_would_be_right(url, wanted) -> None:
    with pytest.raises(ValueError, match=wanted):
        Database(url)
