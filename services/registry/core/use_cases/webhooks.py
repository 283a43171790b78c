"""Webhooks: created, changed, deleted, and made to send again."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.resources import existing
from services.registry.core.errors import (
    DeliveryNotFound,
    TooManyWebhooks,
    WebhookExists,
    WebhookNotFound,
)
from services.registry.core.names import (
    WEBHOOK,
    WEBHOOK_DELIVERY,
    checked,
    id_of,
    parent_of,
)
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.webhooks import (
    LARGEST_COUNT,
    Webhook,
    WebhookChange,
    WebhookDelivery,
    WebhookFormat,
)


def the_webhook(tx: RegistryTx, name: str, field: str = "name") -> Webhook:
    """The webhook `name`.

    Raises:
        InvalidName, WebhookNotFound: There is none.
    """
    return existing(tx.webhooks, WEBHOOK, name, WebhookNotFound, field=field)


def create_webhook(
    tx: RegistryTx,
    name: str,
    *,
    url: str,
    type_prefixes: tuple[str, ...],
    format_: WebhookFormat,
    secret: str,
    paused: bool,
    labels: Mapping[str, str],
) -> Webhook:
    """A new webhook, which gets the events from now on.

    Raises:
        WebhookExists: The name is taken.
        TooManyWebhooks: The project has as many as it may.
    """
    if tx.webhooks.get(checked(WEBHOOK, name, "webhook_id")) is not None:
        raise WebhookExists(name)
    if tx.webhooks.count(parent_of(name)) >= LARGEST_COUNT:
        raise TooManyWebhooks(parent_of(name), LARGEST_COUNT)
    webhook = Webhook(new_meta(tx, name, labels), url, type_prefixes, format_, paused)
    tx.webhooks.add(webhook)
    # Told before its subscription begins, so that it doesn't get its own beginning.
    tx.tell("webhook.created", name, {})
    tx.hooks.subscribe(webhook, secret)
    return webhook


def update_webhook(tx: RegistryTx, name: str, change: WebhookChange, *, etag: str) -> Webhook:
    """The webhook, changed.

    Raises:
        WebhookNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    webhook = the_webhook(tx, name, "webhook.name")
    webhook.meta.check_etag(etag)
    changed = change.applied(webhook, tx.now)
    tx.webhooks.replace(changed)
    if change.secret is not None:
        tx.hooks.replace_secret(changed, change.secret)
    tx.tell("webhook.updated", name, {"paused": changed.paused})
    return changed


def end_webhook(tx: RegistryTx, name: str) -> None:
    """Pause a webhook whose receiver says that it is gone for good.

    Raises:
        WebhookNotFound: There is none.
    """
    tx.webhooks.replace(the_webhook(tx, name).ended(tx.now))
    tx.tell("webhook.gone", name, {"paused": True})


def delete_webhook(tx: RegistryTx, name: str, *, etag: str) -> None:
    """Forget a webhook and what became of its events.

    Raises:
        WebhookNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    webhook = the_webhook(tx, name)
    webhook.meta.check_etag(etag)
    tx.hooks.unsubscribe(webhook)
    tx.webhooks.remove(name)
    tx.tell("webhook.deleted", name, {})


def redeliver(tx: RegistryTx, name: str) -> WebhookDelivery:
    """The delivery, to be sent again at once.

    Raises:
        WebhookNotFound, DeliveryNotFound: The webhook or the delivery isn't there.
    """
    webhook = the_webhook(tx, parent_of(checked(WEBHOOK_DELIVERY, name, "name")))
    found = tx.hooks.send_again(webhook, id_of(name))
    if found is None:
        raise DeliveryNotFound(name)
    return found
