"""Events as CloudEvents 1.0 in structured JSON (github.com/cloudevents/spec)."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from services.common.store.outbox import Event
from services.common.webhooks.subscriptions import Message


def cloud_event(_: Connection, event: Event) -> Message:
    """The event with its correlation and causation as extension attributes."""
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": event.data,
    }
    # An attribute without a value is left out (CloudEvents 1.0, section 3.1).
    if event.correlation_id:
        attributes["correlationid"] = event.correlation_id
    if event.causation_id:
        attributes["causationid"] = event.causation_id
    body = json.dumps(attributes, ensure_ascii=False, allow_nan=False).encode()
    return Message("application/cloudevents+json; charset=utf-8", body)
