"""Who wants which events, how a message is made of one, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from sqlalchemy import Connection

from services.common.store.outbox import Event, EventFilter


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it is sent."""

    content_type: str
    body: bytes


Renderer: TypeAlias = Callable[[Connection, Event], Message | None]
"""Makes the message of an event, reading what it needs; None for one that has none."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants which events.

    Attributes:
        id: Unique over time, at most 64 characters.
        secrets: The newest first; never shown.
    """

    id: str
    url: str
    wanted: EventFilter
    render: Renderer
    secrets: tuple[str, ...] = field(repr=False)


Subscriptions: TypeAlias = Callable[[Connection, datetime], Sequence[Subscription]]
"""The subscriptions that are to be served at a moment."""


EndSubscription: TypeAlias = Callable[[Connection, str, datetime], None]
"""Serves the subscription with an id no more; its receiver is gone."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a message is sent again.

    Attributes:
        attempts: In all, before it is a dead letter.
        first_s: Longest wait before the second attempt; each further one doubles it.
        longest_s: Longest wait of all, also of those that a receiver asks for.
        hold_s: How long later events wait for one that fails. It outlasts a receiver's restart,
            after which all arrive in order; an event that fails for longer than that mostly does
            so for what it is, and goes on being tried beside the others.
    """

    attempts: int = 15
    first_s: float = 1.0
    longest_s: float = 3600.0
    hold_s: float = 300.0

    def wait(self, failures: int, draw: float, asked_s: float = 0.0) -> timedelta:
        """How long to wait after so many failures.

        Args:
            failures: At least 1.
            asked_s: What the receiver asked for; the wait is not shorter.
            draw: Uniform in [0, 1): half of each wait is chance, so that receivers which
                failed together are not asked again together.
        """
        longest = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return timedelta(seconds=max(longest * (0.5 + draw / 2), min(asked_s, self.longest_s)))


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one event for one subscription.

    Attributes:
        subscription: Its id.
        event_seq: Position of the event in the outbox.
        in_line: Whether later events wait for it; not so for one sent again by hand, or tried
            for too long.
        status_code: HTTP's, of the last attempt; 0 if there was no answer.
        error: Of the last attempt; empty after a success.
        next_time: Of the next attempt; None unless PENDING.
    """

    subscription: str
    event_id: str
    event_seq: int
    event_type: str
    subject: str
    state: DeliveryState
    in_line: bool
    attempts: int
    status_code: int
    error: str
    next_time: datetime | None
    create_time: datetime
    update_time: datetime
