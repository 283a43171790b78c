"""Webhooks' secrets, and the deliveries that the common journal keeps for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from services.common.store.outbox import EventFilter
from services.common.webhooks import journal
from services.common.webhooks.sealing import SecretBox, SecretUnreadable, is_sealed
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

log = structlog.get_logger()


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
    renderers: Mapping[WebhookFormat, Renderer], box: SecretBox
) -> Callable[[Connection, datetime], Sequence[Subscription]]:
    """What reads the subscriptions of the webhooks that aren't paused.

    Args:
        renderers: What makes a message of an event, by format.
        box: Opens the secrets; a webhook whose secret it can't open waits for a new one.
    """
    unreadable: set[str] = set()

    def read(connection: Connection, now: datetime) -> Sequence[Subscription]:
        rows = connection.execute(select(WEBHOOK).order_by(WEBHOOK.c.seq))
        pairs = [(row, WEBHOOKS.from_row(row)) for row in rows]
        found = []
        for row, webhook in pairs:
            if webhook.paused:
                continue
            try:
                secrets = tuple(_secrets(row, box, now))
            except SecretUnreadable as error:
                if row.secret not in unreadable:
                    log.error("webhook.secret_unreadable", cause=str(error))  # noqa: TRY400 - a person is needed, a trace is not
                    unreadable.add(row.secret)
                continue
            found.append(_subscription(webhook, renderers[webhook.format], secrets))
        return found

    return read


def seal_stored(connection: Connection, box: SecretBox) -> int:
    """Seal the secrets that stand in the clear, or under a key that no longer seals.

    Those that another key has sealed stay as they are.

    Returns:
        How many webhooks were changed.
    """
    changed = 0
    for row in connection.execute(select(WEBHOOK)).all():
        stored = {"secret": row.secret, "previous_secret": row.previous_secret}
        old = {
            name: text
            for name, text in stored.items()
            if text and not box.is_current(text) and (box.knows(text) or not is_sealed(text))
        }
        try:
            sealed = {
                name: box.seal(box.open(text, row.name) if is_sealed(text) else text, row.name)
                for name, text in old.items()
            }
        except SecretUnreadable:
            continue  # somebody changed it in the database; told once it is to be used
        if sealed:
            connection.execute(WEBHOOK.update().where(WEBHOOK.c.name == row.name).values(**sealed))
            changed += 1
    return changed


def _secrets(row: Row[Any], box: SecretBox, now: datetime) -> Iterator[str]:
    """The newest first.

    Raises:
        SecretUnreadable: One can't be opened.
    """
    yield box.open(row.secret, row.name)
    is_due = row.previous_until is not None and row.previous_until > now
    if is_due and box.knows(row.previous_secret):  # one whose key is gone signs along no more
        yield box.open(row.previous_secret, row.name)


def _subscription(webhook: Webhook, render: Renderer, secrets: tuple[str, ...]) -> Subscription:
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
