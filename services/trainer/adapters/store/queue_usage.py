"""What was taken in each queue, by owner."""

from __future__ import annotations

from sqlalchemy import Connection, select

from services.trainer.adapters.store.tables import QUEUE_USAGE
from services.trainer.core.queues import Usage


def of(connection: Connection, queue: str, owner: str) -> Usage | None:
    """What an owner's jobs in a queue have taken; None before the first second."""
    query = select(QUEUE_USAGE).where(QUEUE_USAGE.c.queue == queue, QUEUE_USAGE.c.owner == owner)
    row = connection.execute(query).one_or_none()
    return None if row is None else Usage(row.seconds, row.time)


def all_of(connection: Connection) -> dict[tuple[str, str], Usage]:
    """What was taken, by queue and owner."""
    found = connection.execute(select(QUEUE_USAGE))
    return {(row.queue, row.owner): Usage(row.seconds, row.time) for row in found}


def put(connection: Connection, queue: str, owner: str, usage: Usage) -> None:
    """Store what an owner's jobs in a queue have taken."""
    same = (QUEUE_USAGE.c.queue == queue, QUEUE_USAGE.c.owner == owner)
    values = {"seconds": usage.seconds, "time": usage.time}
    if not connection.execute(QUEUE_USAGE.update().where(*same).values(values)).rowcount:
        connection.execute(QUEUE_USAGE.insert().values(queue=queue, owner=owner, **values))


def forget(connection: Connection, queue: str) -> None:
    """Remove what jobs in a queue have taken."""
    connection.execute(QUEUE_USAGE.delete().where(QUEUE_USAGE.c.queue == queue))
