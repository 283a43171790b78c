"""How far each reader of the outbox has come, so that it goes on there after a restart."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from services.common.store.tables import OUTBOX_CURSOR


def cursor_of(connection: Connection, reader: str) -> str:
    """Where `reader` goes on; empty if it has not begun, which is the first event."""
    found = connection.execute(
        select(OUTBOX_CURSOR.c.cursor).where(OUTBOX_CURSOR.c.reader == reader)
    ).scalar_one_or_none()
    return found or ""


def set_cursor(connection: Connection, reader: str, cursor: str, now: datetime) -> None:
    """Note that `reader` is done with everything up to `cursor`."""
    drop_cursor(connection, reader)
    connection.execute(OUTBOX_CURSOR.insert().values(reader=reader, cursor=cursor, update_time=now))


def drop_cursor(connection: Connection, reader: str) -> None:
    """Forget `reader`."""
    connection.execute(OUTBOX_CURSOR.delete().where(OUTBOX_CURSOR.c.reader == reader))
