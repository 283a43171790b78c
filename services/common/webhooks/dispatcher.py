"""Serves every subscription, each in its own order, in one process at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, func, select

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease, LeaseLost
from services.common.store.tables import EVENT
from services.common.webhooks import journal
from services.common.webhooks.journal import Look, Work
from services.common.webhooks.sending import Answer, HttpSender
from services.common.webhooks.signing import signed_headers
from services.common.webhooks.subscriptions import (
    DeliveryState,
    EndSubscription,
    Message,
    RetryPolicy,
    Subscription,
    Subscriptions,
)

log = structlog.get_logger()

ATTEMPTS: Final = Counter(
    "webhook_attempts", "Attempts to deliver an event, by what the delivery is then.", ["state"]
)

POLL_S: Final = 0.5
"""How soon a first subscription is seen, and what another process wrote; where there are
subscriptions, this process's own writes wake at once."""

LONGEST_REST_S: Final = 2.0
"""How soon a delivery that is to be sent again is seen."""

_AFTER_A_FAULT_S: Final = 1.0
_AT_ONCE: Final = 32


@dataclass(slots=True)
class _Line:
    """One subscription being served."""

    subscription: Subscription
    task: asyncio.Task[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Dispatcher:
    """Delivers events to subscribers.

    Args:
        database: With the outbox and the journal.
        subscriptions: Who wants what.
        sender: Posts.
        retry: When to try again.
        end: Ends a subscription whose receiver answers 410 Gone.
        now: The clock.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        sender: HttpSender,
        retry: RetryPolicy,
        end: EndSubscription,
        now: Clock,
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._sender = sender
        self._retry = retry
        self._end_subscription = end
        self._now = now
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._written = asyncio.Event()
        database.on_write(self._written.set)

    async def run(self, lease: Lease) -> None:
        """Deliver until cancelled.

        Raises:
            LeaseLost: Another process delivers now.
        """
        try:
            async with asyncio.TaskGroup() as group:
                await self._keep_lines(group, lease)
        except BaseExceptionGroup as raised:
            if raised.subgroup(LeaseLost) is not None:
                raise LeaseLost(lease.name, lease.fence) from raised
            raise

    async def _keep_lines(self, group: asyncio.TaskGroup, lease: Lease) -> None:
        lines: dict[str, _Line] = {}
        newest = -1
        while True:
            self._written.clear()
            subscriptions, seen = await self._database.read(self._survey)
            await _end(lines, subscriptions)
            for each in subscriptions:
                if each.id not in lines or lines[each.id].task.done():
                    wake = asyncio.Event()
                    task = group.create_task(self._serve(each, lease, wake))
                    lines[each.id] = _Line(each, task, wake)
            if seen != newest:
                newest = seen
                for line in lines.values():
                    line.wake.set()
            if not lines:
                # Nobody wants to know at once, and each look costs a write's caller time.
                await asyncio.sleep(POLL_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._written.wait()

    def _survey(self, connection: Connection) -> tuple[Sequence[Subscription], int]:
        newest: int = connection.execute(
            select(func.coalesce(func.max(EVENT.c.seq), 0))
        ).scalar_one()
        return self._subscriptions(connection, self._now()), newest

    async def _serve(self, subscription: Subscription, lease: Lease, wake: asyncio.Event) -> None:
        """Deliver one subscription's events, one after the other."""
        cursor = ""
        while True:
            wake.clear()
            try:
                found = await self._look(subscription, cursor)
                cursor = found.cursor
                if found.work is not None:
                    if await self._deliver(subscription, found.work, lease):
                        continue
                    return
                rest_s = self._rest_s(found)
            except LeaseLost:
                raise
            except ServiceError as error:
                log.warning("webhook.held", subscription=subscription.id, reason=error.reason)
                rest_s = _AFTER_A_FAULT_S
            except Exception:  # a supervisor loop: one subscription must not stop the others
                log.exception("webhook.failed", subscription=subscription.id)
                rest_s = _AFTER_A_FAULT_S
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await wake.wait()

    async def _look(self, subscription: Subscription, cursor: str) -> Look:
        now = self._now()
        return await self._database.read(
            lambda connection: journal.look(connection, subscription, cursor, now)
        )

    def _rest_s(self, found: Look) -> float:
        if found.due_time is None:
            return LONGEST_REST_S
        return min(LONGEST_REST_S, max(0.0, (found.due_time - self._now()).total_seconds()))

    async def _deliver(self, subscription: Subscription, work: Work, lease: Lease) -> bool:
        """Whether the receiver is still there."""
        event = work.event
        if event is None:
            await self._note(subscription, work, Answer(0, "the event is no longer kept"), lease)
            return True
        message = await self._database.read(
            lambda connection: subscription.render(connection, event)
        )
        if message is None:
            now = self._now()

            def skip(connection: Connection) -> None:
                leases.guard(connection, lease)
                journal.skip(connection, subscription.id, event, now)

            await self._database.write(skip)
            return True
        async with self._at_once:
            answer = await self._post(subscription, event.id, message)
        await self._note(subscription, work, answer, lease)
        return not answer.is_gone

    async def _post(self, subscription: Subscription, event_id: str, message: Message) -> Answer:
        headers = {
            "Content-Type": message.content_type,
            **signed_headers(subscription.secrets, event_id, self._now(), message.body),
        }
        return await self._sender.post(subscription.url, headers, message.body)

    async def _note(
        self, subscription: Subscription, work: Work, answer: Answer, lease: Lease
    ) -> None:
        now, draw = self._now(), random.random()  # noqa: S311 - jitter

        def note(connection: Connection) -> DeliveryState:
            leases.guard(connection, lease)
            if answer.is_gone:
                self._end_subscription(connection, subscription.id, now)
            return journal.note(
                connection,
                subscription.id,
                work,
                answer,
                retry=self._retry,
                draw=draw,
                now=now,
            )

        state = await self._database.write(note)
        ATTEMPTS.labels(state=state.value).inc()
        if answer.is_gone:
            log.error("webhook.gone", subscription=subscription.id)
        elif state is DeliveryState.DEAD:
            log.error("webhook.dead_letter", subscription=subscription.id, error=answer.error)


async def _end(lines: dict[str, _Line], wanted: Sequence[Subscription]) -> None:
    """Stop serving what is gone or has changed; what changed begins anew after that."""
    kept = {each.id: each for each in wanted}
    ended = [line for line in lines.values() if kept.get(line.subscription.id) != line.subscription]
    for line in ended:
        line.task.cancel()
        del lines[line.subscription.id]
    await asyncio.gather(*(line.task for line in ended), return_exceptions=True)
