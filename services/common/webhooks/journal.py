"""How far each subscription has been served, and what became of each delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, select

from services.common.store.cursors import cursor_of, drop_cursor, set_cursor
from services.common.store.outbox import Event, read_after
from services.common.store.tables import EVENT, WEBHOOK_DELIVERY
from services.common.webhooks.sending import Answer
from services.common.webhooks.subscriptions import (
    Delivery,
    DeliveryState,
    RetryPolicy,
    Subscription,
)

KEPT: Final = 10_000
"""Deliveries of all subscriptions whose success stays on record; dead letters all do."""

_PENDING: Final = DeliveryState.PENDING.value
_TABLE: Final = WEBHOOK_DELIVERY


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be sent now.

    Attributes:
        event: None if it is no longer kept.
        delivery: What became of it so far; None before the first attempt.
    """

    event: Event | None
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a subscription has to do.

    Attributes:
        work: None if nothing is due.
        due_time: When something is, if that is known.
        cursor: Up to here nothing is wanted; empty while something is.
    """

    work: Work | None
    due_time: datetime | None = None
    cursor: str = ""


def begin(connection: Connection, subscription: str, now: datetime) -> None:
    """Serve a new subscription from the next event on."""
    newest = connection.execute(select(func.coalesce(func.max(EVENT.c.seq), 0))).scalar_one()
    set_cursor(connection, _reader(subscription), str(newest), now)


def forget(connection: Connection, subscription: str) -> None:
    """Serve a subscription no more."""
    drop_cursor(connection, _reader(subscription))
    connection.execute(_TABLE.delete().where(_TABLE.c.subscription == subscription))


def find(connection: Connection, subscription: str, event_id: str) -> Delivery | None:
    """What became of an event, if it was tried and is still on record."""
    row = connection.execute(
        select(_TABLE).where(_TABLE.c.subscription == subscription, _TABLE.c.event_id == event_id)
    ).one_or_none()
    return None if row is None else delivery_of(row)


def send_again(connection: Connection, delivery: Delivery, now: datetime) -> None:
    """Have a delivery tried at once, from the first attempt on unless it is under way."""
    is_over = delivery.state is not DeliveryState.PENDING
    fresh = {"state": _PENDING, "in_line": False, "attempts": 0} if is_over else {}
    connection.execute(
        _TABLE.update().where(_matches(delivery)).values(next_time=now, update_time=now, **fresh)
    )


def look(connection: Connection, subscription: Subscription, after: str, now: datetime) -> Look:
    """What a subscription has to do at `now`.

    What was sent again by hand goes first; then the event that the others wait for.

    Args:
        connection: The transaction.
        subscription: Whose.
        after: Cursor up to which nothing is wanted, if that is known.
        now: The moment.
    """
    pending = [
        delivery_of(row)
        for row in connection.execute(
            select(_TABLE)
            .where(_TABLE.c.subscription == subscription.id, _TABLE.c.state == _PENDING)
            .order_by(_TABLE.c.in_line, _TABLE.c.next_time, _TABLE.c.seq)
        )
    ]
    for delivery in pending:
        if delivery.next_time is not None and delivery.next_time <= now:
            return Look(Work(_event(connection, delivery), delivery))
    due_time = min((each.next_time for each in pending if each.next_time), default=None)
    if any(each.in_line for each in pending):
        return Look(None, due_time)
    cursor = after or cursor_of(connection, _reader(subscription.id))
    events, reached = read_after(connection, cursor, 1, subscription.wanted)
    if events:
        return Look(Work(events[0], None))
    return Look(None, due_time, reached)


def skip(connection: Connection, subscription: str, event: Event, now: datetime) -> None:
    """Go on after an event of which there is nothing to send."""
    _go_on(connection, subscription, event.cursor, now)


def note(
    connection: Connection,
    subscription: str,
    work: Work,
    answer: Answer,
    *,
    retry: RetryPolicy,
    draw: float,
    now: datetime,
) -> DeliveryState:
    """Keep what came of an attempt, and go on after its event unless others wait for it still.

    Args:
        connection: The transaction.
        subscription: Its id.
        work: What was sent.
        answer: What the receiver said.
        retry: When to try again.
        draw: Uniform in [0, 1).
        now: When the answer came.
    """
    before = _now_on_record(connection, subscription, work)
    if work.delivery is None and before is not None and before.state is not DeliveryState.PENDING:
        # A task that was stopped meanwhile had its answer noted after all.
        return before.state
    attempts = 1 if before is None else before.attempts + 1
    next_time = None
    if not answer.error:
        state = DeliveryState.DELIVERED
    elif work.event is None or answer.is_gone or attempts >= retry.attempts:
        state = DeliveryState.DEAD
    else:
        state = DeliveryState.PENDING
        next_time = now + retry.wait(attempts, draw, answer.retry_after_s)
    was_in_line = before is None or before.in_line
    tried_s = 0.0 if before is None else (now - before.create_time).total_seconds()
    in_line = was_in_line and (state is not DeliveryState.PENDING or tried_s < retry.hold_s)
    outcome = {
        "in_line": in_line,
        "state": state.value,
        "attempts": attempts,
        "status_code": answer.status_code,
        "error": answer.error,
        "next_time": next_time,
        "update_time": now,
    }
    if before is not None:
        connection.execute(_TABLE.update().where(_matches(before)).values(**outcome))
        cursor = str(before.event_seq)
    elif work.event is not None and _is_served(connection, subscription):
        _add(connection, subscription, work.event, outcome, now)
        cursor = work.event.cursor
    else:
        return state  # it was deleted meanwhile
    if was_in_line and (state is not DeliveryState.PENDING or not in_line):
        _go_on(connection, subscription, cursor, now)
    return state


def _now_on_record(connection: Connection, subscription: str, work: Work) -> Delivery | None:
    known = work.event.id if work.event is not None else None
    event_id = known if work.delivery is None else work.delivery.event_id
    return None if event_id is None else find(connection, subscription, event_id)


def _add(
    connection: Connection,
    subscription: str,
    event: Event,
    outcome: Mapping[str, object],
    now: datetime,
) -> None:
    seq = connection.execute(
        _TABLE.insert()
        .values(
            subscription=subscription,
            event_id=event.id,
            event_seq=int(event.cursor),
            event_type=event.type,
            subject=event.subject,
            create_time=now,
            **outcome,
        )
        .returning(_TABLE.c.seq)
    ).scalar_one()
    connection.execute(
        _TABLE.delete().where(
            _TABLE.c.subscription == subscription,
            _TABLE.c.state == DeliveryState.DELIVERED.value,
            _TABLE.c.seq <= seq - KEPT,
        )
    )


def delivery_of(row: Row[Any]) -> Delivery:
    """The delivery that a row holds."""
    values = dict(row._mapping)  # noqa: SLF001 - public, underscored to keep column names free
    values.pop("seq")
    return Delivery(**{**values, "state": DeliveryState(values["state"])})


def _event(connection: Connection, delivery: Delivery) -> Event | None:
    events, _ = read_after(connection, str(delivery.event_seq - 1), 1)
    return events[0] if events and events[0].id == delivery.event_id else None


def _is_served(connection: Connection, subscription: str) -> bool:
    return bool(cursor_of(connection, _reader(subscription)))


def _go_on(connection: Connection, subscription: str, cursor: str, now: datetime) -> None:
    if _is_served(connection, subscription):
        set_cursor(connection, _reader(subscription), cursor, now)


def _matches(delivery: Delivery) -> Any:
    return and_(
        _TABLE.c.subscription == delivery.subscription, _TABLE.c.event_id == delivery.event_id
    )


def _reader(subscription: str) -> str:
    return f"webhook:{subscription}"
