"""Webhooks whose receivers are gone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from services.registry.adapters.database.tables import WEBHOOK
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.use_cases.webhooks import end_webhook


def end_subscription(connection: Connection, uid: str, now: datetime) -> None:
    """Pause the webhook with this uid, if there is still one, and tell of it."""
    name = connection.execute(select(WEBHOOK.c.name).where(WEBHOOK.c.uid == uid)).scalar()
    if name is not None:
        tx = SqlRegistryTx(connection, now)
        end_webhook(tx, name)
        tx.finish()
