"""Transactions that wait at the same time share one of the database."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from services.common.store.database import Database, after_commit
from services.common.store.tables import LEASE
from tests.support.store import common_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELD_S = 30.0


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with common_database(database_url, tmp_path) as opened:
        yield opened


def add(name: str) -> Callable[[Connection], int]:
    """Writes a row and tells which transaction it was in."""

    def work(connection: Connection) -> int:
        row = {"name": name, "holder": "", "fence": 1, "expire_time": NOW}
        connection.execute(LEASE.insert().values(row))
        return id(connection.get_transaction())

    return work


async def waiting_together(
    database: Database, works: Sequence[Callable[[Connection], Any]], cancelled: int = 0
) -> list[Any]:
    """The answers of works that were all made to wait for the one that was running.

    The last `cancelled` of them are cancelled while they wait.
    """
    running, release = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        running.set()
        assert release.wait(HELD_S)

    async with asyncio.TaskGroup() as group:
        holder = group.create_task(database.write(hold))
        await asyncio.to_thread(running.wait, HELD_S)
        tasks = [asyncio.ensure_future(database.write(work)) for work in works]
        await asyncio.sleep(0)
        for task in tasks[len(tasks) - cancelled :]:
            task.cancel()
        release.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await holder
    return answers


async def stored(database: Database) -> set[str]:
    return set(await database.read(lambda tx: tx.execute(select(LEASE.c.name)).scalars().all()))


async def test_writes_that_wait_share_one_transaction(database: Database) -> None:
    names = [str(uuid.uuid4()) for _ in range(5)]
    answers = await waiting_together(database, [add(name) for name in names])
    assert len(set(answers)) == 1
    assert await stored(database) == set(names)


async def test_a_write_that_fails_takes_only_its_own_rows_with_it(database: Database) -> None:
    def fails(connection: Connection) -> None:
        add("half")(connection)
        raise RuntimeError("stop")

    first, failure, last = await waiting_together(database, [add("a"), fails, add("b")])
    assert isinstance(failure, RuntimeError)
    assert first == last
    assert await stored(database) == {"a", "b"}


async def test_only_what_is_committed_is_acted_on(database: Database) -> None:
    acted: list[str] = []

    def writing(name: str, error: Exception | None = None) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            add(name)(connection)
            after_commit(connection, lambda: acted.append(name))
            if error is not None:
                raise error

        return work

    await waiting_together(
        database, [writing("a"), writing("lost", RuntimeError("stop")), writing("b")]
    )
    assert acted == ["a", "b"]


async def test_a_write_that_the_database_refuses_takes_no_other_with_it(
    database: Database,
) -> None:
    await database.write(add("taken"))
    first, failure, last = await waiting_together(database, [add("a"), add("taken"), add("b")])
    assert isinstance(failure, DBAPIError)
    assert isinstance(first, int)
    assert isinstance(last, int)
    assert await stored(database) == {"taken", "a", "b"}


async def test_each_sees_what_those_before_it_wrote(database: Database) -> None:
    def count(connection: Connection) -> int:
        return len(connection.execute(select(LEASE.c.name)).all())

    answers = await waiting_together(database, [add("a"), count, add("b"), count])
    assert answers[1::2] == [1, 2]


async def test_a_write_cancelled_while_it_waits_is_not_made(database: Database) -> None:
    answers = await waiting_together(database, [add("a"), add("b")], cancelled=1)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert await stored(database) == {"a"}


async def test_what_is_answered_is_seen_by_another_connection(
    database: Database, database_url: str
) -> None:
    other = Database(database_url)
    seen: list[set[str]] = []

    async def write_and_look(name: str) -> None:
        await database.write(add(name))
        seen.append({name} & await stored(other))

    try:
        await asyncio.gather(*(write_and_look(str(number)) for number in range(20)))
    finally:
        other.close()
    assert all(seen)
    assert len(seen) == 20


async def test_each_work_runs_in_the_context_of_its_caller(database: Database) -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def call(value: str) -> str:
        variable.set(value)
        return await database.write(lambda _: variable.get())

    tasks = [asyncio.create_task(call(str(number))) for number in range(10)]
    assert await asyncio.gather(*tasks) == [str(number) for number in range(10)]


async def test_reads_at_the_same_time_get_their_own_answers(database: Database) -> None:
    def fails(_: Connection) -> None:
        raise RuntimeError("stop")

    works = [fails if number % 7 == 3 else lambda _, n=number: n for number in range(50)]
    answers = await asyncio.gather(*(database.read(work) for work in works), return_exceptions=True)
    for number, answer in enumerate(answers):
        assert isinstance(answer, RuntimeError) if number % 7 == 3 else answer == number
