"""Leases: one holder at a time, and fences that keep stale holders out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.clock import utc_now
from services.common.store import leadership, leases
from services.common.store.database import Database
from services.common.store.leases import Lease, LeaseLost
from services.common.store.tables import METADATA
from tests.support.store import common_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(seconds=10)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with common_database(database_url, tmp_path) as opened:
        yield opened


async def claim(database: Database, holder: str, now: datetime = NOW) -> Lease | None:
    return await database.write(lambda tx: leases.claim(tx, "work", holder, TTL, now))


async def test_a_held_lease_is_not_given_to_another(database: Database) -> None:
    assert (await claim(database, "a")) is not None
    assert await claim(database, "b", NOW + TTL / 2) is None


async def test_an_expired_lease_passes_on_and_its_old_holder_is_fenced_out(
    database: Database,
) -> None:
    old = await claim(database, "a")
    new = await claim(database, "b", NOW + TTL)
    assert old is not None
    assert new is not None
    assert new.fence > old.fence
    with pytest.raises(LeaseLost) as caught:
        await database.write(lambda tx: leases.guard(tx, old))
    assert caught.value.metadata == {"lease": "work", "fence": "1"}
    await database.write(lambda tx: leases.guard(tx, new))


async def test_a_restarted_holder_goes_on_at_once_under_a_new_fence(database: Database) -> None:
    before = await claim(database, "a")
    after = await claim(database, "a")
    assert before is not None
    assert after is not None
    assert after.fence == before.fence + 1
    with pytest.raises(LeaseLost):
        await database.write(lambda tx: leases.heartbeat(tx, before, TTL, NOW))


async def test_a_released_lease_is_free(database: Database) -> None:
    lease = await claim(database, "a")
    assert lease is not None
    await database.write(lambda tx: leases.release(tx, lease))
    assert await claim(database, "b") is not None


async def test_a_heartbeat_keeps_the_lease(database: Database) -> None:
    lease = await claim(database, "a")
    assert lease is not None
    await database.write(lambda tx: leases.heartbeat(tx, lease, TTL, NOW + TTL / 2))
    assert await claim(database, "b", NOW + TTL) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["claim", "beat", "guard", "release"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 15),
        ),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None)
def test_at_most_one_holder_passes_the_guard(script) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/leases.db")
        try:
            database.write_now(METADATA.create_all)
            now, held = NOW, {}
            for step, holder, seconds in script:
                now += timedelta(seconds=seconds)
                if step == "claim":
                    lease = database.write_now(
                        lambda tx, h=holder, t=now: leases.claim(tx, "work", h, TTL, t)
                    )
                    held.update({holder: lease} if lease else {})
                elif holder in held:
                    act = {
                        "beat": lambda tx, h=holder, t=now: leases.heartbeat(tx, held[h], TTL, t),
                        "guard": lambda tx, h=holder: leases.guard(tx, held[h]),
                        "release": lambda tx, h=holder: leases.release(tx, held[h]),
                    }[step]
                    try:
                        database.write_now(act)
                    except LeaseLost:
                        del held[holder]
                passing = [h for h, lease in held.items() if passes(database, lease)]
                assert len(passing) <= 1
        finally:
            database.close()


def passes(database: Database, lease: Lease) -> bool:
    try:
        database.write_now(lambda tx: leases.guard(tx, lease))
    except LeaseLost:
        return False
    return True


async def test_one_of_two_leaders_works_and_the_other_follows_when_it_ends(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "TTL", timedelta(seconds=0.3))
    at_work: list[str] = []
    started = asyncio.Condition()

    def work_of(name: str):
        async def work(_: Lease) -> None:
            async with started:
                at_work.append(name)
                started.notify_all()
            await asyncio.Event().wait()

        return work

    first = asyncio.ensure_future(leadership.lead(database, "loop", "a", utc_now, work_of("a")))
    async with asyncio.timeout(10), started:
        await started.wait_for(lambda: at_work == ["a"])
    second = asyncio.ensure_future(leadership.lead(database, "loop", "b", utc_now, work_of("b")))
    first.cancel()
    async with asyncio.timeout(10), started:
        await started.wait_for(lambda: at_work == ["a", "b"])
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_a_leader_that_lost_its_lease_is_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "TTL", timedelta(seconds=0.3))
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def work(_: Lease) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = asyncio.ensure_future(leadership.lead(database, "loop", "a", utc_now, work))
    async with asyncio.timeout(10):
        await begun.wait()
        later = utc_now() + timedelta(hours=1)
        await database.write(lambda tx: leases.claim(tx, "loop", "b", timedelta(hours=2), later))
        await stopped.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
