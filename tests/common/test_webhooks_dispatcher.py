"""Deliveries over a real database to a real HTTP server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from services.common.clock import utc_now
from services.common.store.database import Database
from services.common.store.leadership import lead
from services.common.store.migrations import migrate
from services.common.store.outbox import Event, EventFilter, Outbox, read_after
from services.common.webhooks import dispatcher, journal
from services.common.webhooks.cloudevents import cloud_event
from services.common.webhooks.dispatcher import Dispatcher
from services.common.webhooks.sending import http_sender
from services.common.webhooks.subscriptions import (
    Delivery,
    DeliveryState,
    EndSubscription,
    Message,
    RetryPolicy,
    Subscription,
)
from services.common.webhooks.targets import TargetPolicy
from tests.support.eventually import eventually
from tests.support.receiver import SECRET, Receiver, receiving

OUTBOX = Outbox("registry")
RETRY = RetryPolicy(attempts=3, first_s=0.05, longest_s=0.1)


def nobody_is_gone(*_: object) -> None:
    raise AssertionError


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(database_url)
    (tmp_path / "none").mkdir()
    await migrate(database, tmp_path / "none")
    yield database
    database.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.05)
    monkeypatch.setattr(dispatcher, "LONGEST_REST_S", 0.05)


async def subscribed(database: Database, url: str, name: str = "one") -> Subscription:
    await database.write(lambda tx: journal.begin(tx, name, utc_now()))
    return Subscription(name, url, EventFilter(), cloud_event, (SECRET,))


async def emit(database: Database, *kinds: str) -> list[str]:
    return await database.write(
        lambda tx: [OUTBOX.append(tx, kind, "projects/p/models/m", utc_now()) for kind in kinds]
    )


@asynccontextmanager
async def delivering(
    database: Database,
    *subscriptions: Subscription,
    holder: str = "one",
    retry: RetryPolicy = RETRY,
    end: EndSubscription = nobody_is_gone,
) -> AsyncIterator[list[Subscription]]:
    """A leader over a list of subscriptions that the test may change."""
    served = list(subscriptions)

    def read(*_: object) -> Sequence[Subscription]:
        return tuple(served)

    async with http_sender(TargetPolicy(loopback=True), timeout_s=5.0) as sender:
        work = Dispatcher(database, read, sender, retry, end, utc_now)
        task = asyncio.ensure_future(lead(database, "webhooks", holder, utc_now, work.run))
        try:
            yield served
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def delivery(database: Database, event: str, subscription: str = "one") -> Delivery | None:
    return database.read_now(lambda tx: journal.find(tx, subscription, event))


def state(database: Database, event: str, subscription: str = "one") -> DeliveryState | None:
    found = delivery(database, event, subscription)
    return None if found is None else found.state


async def test_what_happens_from_the_subscription_on_arrives_in_order_once(
    database: Database, receiver: Receiver
) -> None:
    await emit(database, "before")
    subscription = await subscribed(database, receiver.url)
    first = await emit(database, "a", "b")
    async with delivering(database, subscription):
        await eventually(lambda: len(receiver.received) == 2)
        later = await emit(database, "c")
        await eventually(lambda: state(database, later[0]) is DeliveryState.DELIVERED)
    assert receiver.ids == [*first, *later]
    assert receiver.types == ["a", "b", "c"]
    message = receiver.received[0]
    assert message.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert message.is_signed_by(SECRET)
    assert {key: message.json[key] for key in ("specversion", "source", "subject", "data")} == {
        "specversion": "1.0",
        "source": "registry",
        "subject": "projects/p/models/m",
        "data": {},
    }


async def test_a_failing_receiver_holds_its_own_events_back_and_no_one_elses(
    database: Database, receiver: Receiver
) -> None:
    receiver.answer = lambda request: 500 if request.path == "/bad" and bad else 200
    bad = True
    base = receiver.url.removesuffix("/hook")
    one = await subscribed(database, f"{base}/bad", "one")
    two = await subscribed(database, f"{base}/good", "two")
    events = await emit(database, "a", "b")
    async with delivering(database, one, two, retry=replace(RETRY, attempts=1000)):
        await eventually(lambda: state(database, events[1], "two") is DeliveryState.DELIVERED)
        await eventually(
            lambda: (found := delivery(database, events[0])) is not None and found.attempts > 1
        )
        assert state(database, events[1]) is None
        bad = False
        await eventually(lambda: state(database, events[1]) is DeliveryState.DELIVERED)
    tried = [each.id for each in receiver.received if each.path == "/bad"]
    assert tried == [events[0]] * (len(tried) - 1) + [events[1]]


async def test_a_dead_letter_lets_the_next_pass_and_can_be_sent_again(
    database: Database, receiver: Receiver
) -> None:
    subscription = await subscribed(database, receiver.url)
    events = await emit(database, "poison", "fine")
    poisoned = True
    receiver.answer = lambda each: 503 if poisoned and each.json["type"].endswith("poison") else 202
    async with delivering(database, subscription):
        await eventually(lambda: state(database, events[1]) is DeliveryState.DELIVERED)
        dead = delivery(database, events[0])
        assert dead is not None
        assert (dead.state, dead.attempts, dead.status_code, dead.error, dead.next_time) == (
            DeliveryState.DEAD,
            RETRY.attempts,
            503,
            "answered 503",
            None,
        )
        poisoned = False
        await database.write(lambda tx: journal.send_again(tx, dead, utc_now()))
        await eventually(lambda: state(database, events[0]) is DeliveryState.DELIVERED)
        last = await emit(database, "last")
        await eventually(lambda: state(database, last[0]) is DeliveryState.DELIVERED)
    assert receiver.ids == [events[0]] * 3 + [events[1], events[0], last[0]]
    again = delivery(database, events[0])
    assert again is not None
    assert (again.attempts, again.error, again.status_code) == (1, "", 202)


async def test_an_event_that_fails_for_long_lets_later_ones_pass_and_is_tried_beside_them(
    database: Database, receiver: Receiver
) -> None:
    subscription = await subscribed(database, receiver.url)
    events = await emit(database, "poison", "fine", "fine")
    poisoned = True
    receiver.answer = lambda each: 500 if poisoned and each.id == events[0] else 200
    retry = replace(RETRY, attempts=1000, hold_s=0.01)
    async with delivering(database, subscription, retry=retry):
        await eventually(lambda: state(database, events[2]) is DeliveryState.DELIVERED)
        held = delivery(database, events[0])
        assert held is not None
        assert (held.state, held.in_line) == (DeliveryState.PENDING, False)
        assert held.attempts > 1
        poisoned = False
        await eventually(lambda: state(database, events[0]) is DeliveryState.DELIVERED)
    assert [each for each in receiver.ids if each != events[0]] == events[1:]


async def test_a_receiver_that_is_gone_ends_its_subscription_and_leaves_a_dead_letter(
    database: Database, receiver: Receiver
) -> None:
    subscription = await subscribed(database, receiver.url)
    events = await emit(database, "a", "b")
    receiver.answer = lambda _: 410
    ended = threading.Event()

    def end(_: Connection, name: str, __: object) -> None:
        assert name == subscription.id
        served.clear()
        ended.set()

    async with delivering(database, subscription, end=end) as served:
        await eventually(lambda: state(database, events[0]) is DeliveryState.DEAD)
        assert ended.is_set()
        receiver.answer = lambda _: 200
        # Resumed, it goes on behind the dead letter.
        served.append(subscription)
        await eventually(lambda: state(database, events[1]) is DeliveryState.DELIVERED)
    assert receiver.ids == events


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_time_gets_it(
    database: Database, receiver: Receiver, status: int
) -> None:
    subscription = await subscribed(database, receiver.url)
    (event,) = await emit(database, "a")
    receiver.answer, receiver.headers = lambda _: status, {"Retry-After": "120"}
    async with delivering(database, subscription, retry=replace(RETRY, longest_s=3600.0)):
        await eventually(lambda: delivery(database, event) is not None)
    found = delivery(database, event)
    assert found is not None
    assert found.next_time is not None
    assert (found.next_time - found.update_time).total_seconds() == 120.0
    assert len(receiver.received) == 1


async def test_another_leader_goes_on_where_the_first_one_died(
    database: Database, receiver: Receiver
) -> None:
    subscription = await subscribed(database, receiver.url)
    events = await emit(database, "a", "b", "c")
    block = threading.Event()
    receiver.answer = lambda each: 200 if each.id != events[1] or block.wait(20) else 500
    async with delivering(database, subscription):
        await eventually(lambda: events[1] in receiver.ids)
    # It is gone before the answer came, so what was sent was not noted.
    block.set()
    async with delivering(database, subscription):
        await eventually(lambda: state(database, events[2]) is DeliveryState.DELIVERED)
    assert receiver.ids == [events[0], events[1], events[1], events[2]]


async def test_two_processes_deliver_each_event_once(
    database: Database, receiver: Receiver
) -> None:
    subscription = await subscribed(database, receiver.url)
    async with (
        delivering(database, subscription, holder="one"),
        delivering(database, subscription, holder="two"),
    ):
        events = [(await emit(database, f"k{i}"))[0] for i in range(20)]
        await eventually(lambda: state(database, events[-1]) is DeliveryState.DELIVERED)
    assert receiver.ids == events


async def test_what_has_no_message_is_left_out(database: Database, receiver: Receiver) -> None:
    def only_b(connection: Connection, event: Event) -> Message | None:
        return cloud_event(connection, event) if event.type.endswith(".b") else None

    subscription = replace(await subscribed(database, receiver.url), render=only_b)
    events = await emit(database, "a", "b", "a", "b")
    async with delivering(database, subscription):
        await eventually(lambda: state(database, events[3]) is DeliveryState.DELIVERED)
    assert receiver.types == ["b", "b"]


async def test_a_changed_subscription_is_served_as_it_is_now_and_a_gone_one_no_more(
    database: Database, receiver: Receiver
) -> None:
    base = receiver.url.removesuffix("/hook")
    subscription = await subscribed(database, f"{base}/old")
    async with delivering(database, subscription) as served:
        (first,) = await emit(database, "a")
        await eventually(lambda: state(database, first) is DeliveryState.DELIVERED)
        served[:] = [replace(subscription, url=f"{base}/new")]
        await emit(database, "b")
        await eventually(lambda: len(receiver.received) == 2)
        served.clear()
        await database.write(lambda tx: journal.forget(tx, subscription.id))
        last = await emit(database, "c")
        await asyncio.sleep(0.2)
    assert [each.path for each in receiver.received] == ["/old", "/new"]
    assert state(database, last[0]) is None


async def test_a_filter_wants_the_events_of_one_project_alone(database: Database) -> None:
    await emit(database, "a")

    def subjects(connection: Connection, prefix: str) -> int:
        return len(read_after(connection, "", 10, EventFilter(subject_prefix=prefix))[0])

    assert await database.read(lambda tx: subjects(tx, "projects/p/")) == 1
    assert await database.read(lambda tx: subjects(tx, "projects/_/")) == 0
