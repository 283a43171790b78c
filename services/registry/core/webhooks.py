"""Webhooks: who is told of a project's events over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.resources import Meta

LARGEST_COUNT: Final = 100
"""Webhooks of one project; each is served by a task of its own."""

OLD_SECRET_PERIOD: Final = timedelta(hours=24)
"""How long a replaced secret still signs, so that receivers can change theirs in peace."""


class WebhookFormat(StrEnum):
    """What is sent."""

    CLOUDEVENTS = "CLOUDEVENTS"
    OPENLINEAGE = "OPENLINEAGE"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a project's events go. Its secret is kept apart.

    Attributes:
        meta: `projects/{p}/webhooks/{w}`.
        type_prefixes: Of the events wanted; empty means all.
        paused: Whether nothing is sent for now.
        gone_time: When the receiver answered 410 Gone, which paused it; None once it is resumed.
    """

    meta: Meta
    url: str
    type_prefixes: tuple[str, ...]
    format: WebhookFormat
    paused: bool = False
    gone_time: datetime | None = None

    def ended(self, now: datetime) -> Webhook:
        """The webhook, paused because nobody receives there any more."""
        return replace(self, meta=self.meta.touched(now), paused=True, gone_time=now)


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """What to change of a webhook; None leaves a part as it is."""

    labels: Mapping[str, str] | None = None
    url: str | None = None
    type_prefixes: tuple[str, ...] | None = None
    secret: str | None = None
    paused: bool | None = None

    def applied(self, webhook: Webhook, now: datetime) -> Webhook:
        """The webhook, changed; the secret is kept elsewhere."""
        meta = webhook.meta.touched(now)
        return replace(
            webhook,
            meta=meta if self.labels is None else replace(meta, labels=self.labels),
            url=webhook.url if self.url is None else self.url,
            type_prefixes=(
                webhook.type_prefixes if self.type_prefixes is None else self.type_prefixes
            ),
            paused=webhook.paused if self.paused is None else self.paused,
            gone_time=None if self.paused is False else webhook.gone_time,
        )

    def __repr__(self) -> str:
        """Without the secret."""
        return f"WebhookChange(url={self.url!r}, paused={self.paused!r})"


class WebhookDeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """What became of one event for one webhook.

    Attributes:
        name: `projects/{p}/webhooks/{w}/deliveries/{event id}`.
        status_code: HTTP's, of the last attempt; 0 if there was no answer.
        next_time: Of the next attempt; None unless PENDING.
    """

    name: str
    state: WebhookDeliveryState
    event_type: str
    subject: str
    attempts: int
    status_code: int
    error: str
    next_time: datetime | None
    create_time: datetime
    update_time: datetime
