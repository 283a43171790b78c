"""The event outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.common.causality import caused_by
from services.common.store.database import Database
from services.common.store.outbox import EVENTS, EventFilter, InvalidCursor, Outbox, read_after
from tests.support.store import common_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUTBOX = Outbox("registry")


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with common_database(database_url, tmp_path) as opened:
        yield opened


async def append(database: Database, kind: str, subject: str = "projects/p") -> str:
    return await database.write(lambda tx: OUTBOX.append(tx, kind, subject, NOW, {"n": 1}))


async def test_events_come_in_order_and_once(database: Database) -> None:
    wanted = [await append(database, f"thing.{i}") for i in range(7)]
    seen, cursor = [], ""
    while len(seen) < 7:
        events, cursor = await database.read(lambda tx, c=cursor: read_after(tx, c, 3))
        seen += [event.id for event in events]
    assert seen == wanted
    assert await database.read(lambda tx: read_after(tx, cursor, 3)) == ([], cursor)


async def test_an_event_carries_the_causality_of_the_task(database: Database) -> None:
    with caused_by("episode-1", "event-0"):
        await append(database, "version.ready")
    (event,), _ = await database.read(lambda tx: read_after(tx, "", 10))
    assert (event.correlation_id, event.causation_id) == ("episode-1", "event-0")
    assert (event.type, event.source) == ("roundhouse.registry.version.ready", "registry")
    assert event.time == NOW
    assert event.data == {"n": 1}


async def test_events_are_counted_once_they_are_committed(database: Database) -> None:
    def counted() -> float:
        return EVENTS.labels("roundhouse.registry.thing.counted")._value.get()

    def change(tx):
        OUTBOX.append(tx, "thing.counted", "projects/p", NOW)
        assert counted() == before
        raise RuntimeError("stop")

    before = counted()
    with pytest.raises(RuntimeError, match="stop"):
        await database.write(change)
    assert counted() == before
    await append(database, "thing.counted")
    assert counted() == before + 1


async def test_a_rolled_back_change_has_no_event(database: Database) -> None:
    def change(tx):
        OUTBOX.append(tx, "version.ready", "projects/p", NOW)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await database.write(change)
    assert (await database.read(lambda tx: read_after(tx, "", 10)))[0] == []


async def test_a_filter_skips_but_the_cursor_moves_past_what_it_skipped(database: Database) -> None:
    await append(database, "version.ready", "projects/a")
    await append(database, "alias.moved", "projects/b")
    wanted = EventFilter(type_prefixes=("roundhouse.registry.version.",))
    events, cursor = await database.read(lambda tx: read_after(tx, "", 10, wanted))
    assert [event.subject for event in events] == ["projects/a"]
    assert await database.read(lambda tx: read_after(tx, cursor, 10)) == ([], cursor)
    only_b = EventFilter(subject="projects/b")
    events, _ = await database.read(lambda tx: read_after(tx, "", 10, only_b))
    assert [event.type for event in events] == ["roundhouse.registry.alias.moved"]


async def test_a_reader_beside_many_writers_misses_nothing(
    database: Database, database_url: str
) -> None:
    other = Database(database_url)
    writers = [append(db, f"k.{i}") for i, db in enumerate([database, other] * 30)]
    written = asyncio.gather(*writers)
    seen: list[str] = []
    cursor = ""
    try:
        while len(seen) < 60:
            events, cursor = await database.read(lambda tx, c=cursor: read_after(tx, c, 5))
            seen += [event.id for event in events]
    finally:
        ids = await written
        other.close()
    assert sorted(seen) == sorted(ids)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30, "\uff11"])
async def test_a_damaged_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await database.read(lambda tx: read_after(tx, cursor, 1))


async def test_those_who_wait_for_events_hear_of_no_other_write(database: Database) -> None:
    heard: list[str] = []
    database.on_write(lambda: heard.append("write"))
    database.on_event(lambda: heard.append("event"))

    def fails(tx):
        OUTBOX.append(tx, "version.ready", "projects/p", NOW)
        raise RuntimeError("stop")

    await database.write(lambda _: None)
    with pytest.raises(RuntimeError, match="stop"):
        await database.write(fails)
    await append(database, "version.ready")
    await database.write(lambda _: None)
    assert heard == ["write", "write", "event", "write"]
