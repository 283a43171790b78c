"""Webhooks' secrets, and the deliveries that the common journal keeps for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from services.common.store.outbox import EventFilter
from services.common.webhooks import journal
from services.common.webhooks.subscriptions import Delivery, Renderer, Subscription
from services.registry.adapters.database.documents import WEBHOOKS
from services.registry.adapters.database.tables import WEBHOOK
from services.registry.core.names import parent_of
from services.registry.core.webhooks import (
    OLD_SECRET_PERIOD,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookFormat,
)


class SqlHooks:
    """`Hooks` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        now: The moment at which everything in it happens.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def subscribe(self, webhook: Webhook, secret: str) -> None:
        """See `Hooks`."""
        self._set(webhook, secret=secret)
        journal.begin(self._connection, webhook.meta.uid, self._now)

    def replace_secret(self, webhook: Webhook, secret: str) -> None:
        """See `Hooks`."""
        self._set(
            webhook,
            previous_secret=WEBHOOK.c.secret,
            previous_until=self._now + OLD_SECRET_PERIOD,
            secret=secret,
        )

    def unsubscribe(self, webhook: Webhook) -> None:
        """See `Hooks`."""
        journal.forget(self._connection, webhook.meta.uid)

    def send_again(self, webhook: Webhook, event_id: str) -> WebhookDelivery | None:
        """See `Hooks`."""
        found = journal.find(self._connection, webhook.meta.uid, event_id)
        if found is None:
            return None
        journal.send_again(self._connection, found, self._now)
        again = journal.find(self._connection, webhook.meta.uid, event_id)
        return None if again is None else delivery_of(webhook.meta.name, again)

    def _set(self, webhook: Webhook, **values: object) -> None:
        self._connection.execute(
            WEBHOOK.update().where(WEBHOOK.c.name == webhook.meta.name).values(**values)
        )


def delivery_of(webhook: str, delivery: Delivery) -> WebhookDelivery:
    """A delivery as the registry tells of it."""
    return WebhookDelivery(
        name=f"{webhook}/deliveries/{delivery.event_id}",
        state=WebhookDeliveryState(delivery.state.value),
        event_type=delivery.event_type,
        subject=delivery.subject,
        attempts=delivery.attempts,
        status_code=delivery.status_code,
        error=delivery.error,
        next_time=delivery.next_time,
        create_time=delivery.create_time,
        update_time=delivery.update_time,
    )


def subscriptions(
    renderers: Mapping[WebhookFormat, Renderer],
) -> Callable[[Connection, datetime], Sequence[Subscription]]:
    """What reads the subscriptions of the webhooks that aren't paused.

    Args:
        renderers: What makes a message of an event, by format.
    """

    def read(connection: Connection, now: datetime) -> Sequence[Subscription]:
        rows = connection.execute(select(WEBHOOK).order_by(WEBHOOK.c.seq))
        pairs = [(row, WEBHOOKS.from_row(row)) for row in rows]
        return [
            _subscription(row, webhook, renderers[webhook.format], now)
            for row, webhook in pairs
            if not webhook.paused
        ]

    return read


def _subscription(row: Row[Any], webhook: Webhook, render: Renderer, now: datetime) -> Subscription:
    secrets: tuple[str, ...] = (row.secret,)
    if row.previous_until is not None and row.previous_until > now:
        secrets = (row.secret, row.previous_secret)
    return Subscription(
        id=webhook.meta.uid,
        url=webhook.url,
        wanted=EventFilter(
            type_prefixes=webhook.type_prefixes,
            subject_prefix=f"{parent_of(webhook.meta.name)}/",
        ),
        render=render,
        secrets=secrets,
    )
