"""The registry's events as messages for OpenLineage's consumers."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import Connection

from services.common.store.outbox import Event
from services.common.webhooks.subscriptions import Message
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.openlineage import Happened, run_event

_TYPE: Final = "roundhouse.registry."


def open_lineage(connection: Connection, event: Event) -> Message | None:
    """The event as a run event; None if it tells nothing of a run."""
    happened = Happened(event.type.removeprefix(_TYPE), event.subject, event.time, event.data)
    document = run_event(SqlRegistryTx(connection, event.time), happened)
    if document is None:
        return None
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return Message("application/json; charset=utf-8", body)
