"""Webhooks and their deliveries to and from proto messages."""

from __future__ import annotations

from typing import Final

from roundhouse.registry.v1 import webhook_pb2 as pb

from services.common.rpc.convert import to_timestamp
from services.registry.core.webhooks import (
    Webhook,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookFormat,
)

_FORMATS: Final = {
    WebhookFormat.CLOUDEVENTS: pb.Webhook.FORMAT_CLOUDEVENTS,
    WebhookFormat.OPENLINEAGE: pb.Webhook.FORMAT_OPENLINEAGE,
}
_FORMATS_BACK: Final = {
    pb.Webhook.FORMAT_UNSPECIFIED: WebhookFormat.CLOUDEVENTS,
    **{message: format_ for format_, message in _FORMATS.items()},
}
_STATES: Final = {
    WebhookDeliveryState.PENDING: pb.WebhookDelivery.STATE_PENDING,
    WebhookDeliveryState.DELIVERED: pb.WebhookDelivery.STATE_DELIVERED,
    WebhookDeliveryState.DEAD: pb.WebhookDelivery.STATE_DEAD,
}


def webhook_to_proto(webhook: Webhook) -> pb.Webhook:
    """`webhook` as it goes over the wire; it has no secret."""
    meta = webhook.meta
    message = pb.Webhook(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        url=webhook.url,
        type_prefixes=webhook.type_prefixes,
        format=_FORMATS[webhook.format],
        paused=webhook.paused,
    )
    if webhook.gone_time is not None:
        message.gone_time.CopyFrom(to_timestamp(webhook.gone_time))
    return message


def format_from_proto(format_: pb.Webhook.Format.ValueType) -> WebhookFormat:
    """What is to be sent."""
    return _FORMATS_BACK[format_]


def delivery_to_proto(delivery: WebhookDelivery) -> pb.WebhookDelivery:
    """`delivery` as it goes over the wire."""
    return pb.WebhookDelivery(
        name=delivery.name,
        state=_STATES[delivery.state],
        event_type=delivery.event_type,
        subject=delivery.subject,
        attempts=delivery.attempts,
        status_code=delivery.status_code,
        error=delivery.error,
        next_time=None if delivery.next_time is None else to_timestamp(delivery.next_time),
        create_time=to_timestamp(delivery.create_time),
        update_time=to_timestamp(delivery.update_time),
    )
