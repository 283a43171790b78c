"""Events, written in the transaction of the change that they tell of.

Nothing is announced that was not committed and nothing committed goes unannounced.
Since writers are serial (`database`), a reader that has seen number n has seen all
before it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from prometheus_client import Counter
from sqlalchemy import Connection, and_, func, or_, select

from services.common.causality import causality
from services.common.errors import InvalidArgument
from services.common.store.database import after_commit, tell_after_commit
from services.common.store.tables import EVENT

EVENTS: Final = Counter(
    "roundhouse_events",
    "Changes that were committed, by the event that tells of each.",
    ("type",),
)
_APPEND: Final = EVENT.insert().inline()

JSON: TypeAlias = str | int | float | bool | Sequence["JSON"] | Mapping[str, "JSON"] | None


class InvalidCursor(InvalidArgument):
    """The cursor was not made by this service."""

    reason = "INVALID_CURSOR"

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"Cursor {cursor!r} is damaged; send one that an event or bookmark carried, "
            "or none to start at the first event.",
            cursor=cursor,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as a CloudEvent.

    Attributes:
        id: Unique within the source.
        cursor: Position in the source's stream.
        type: Such as `roundhouse.registry.version.ready`.
        source: Service it happened in.
        subject: Resource name it happened to.
        time: Server clock, UTC.
        correlation_id: Episode of the loop; empty outside of one.
        causation_id: Id of the event that caused it; may be empty.
        data: Facts about the change.
    """

    id: str
    cursor: str
    type: str
    source: str
    subject: str
    time: datetime
    correlation_id: str
    causation_id: str
    data: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants; an empty field wants all."""

    type_prefixes: tuple[str, ...] = ()
    correlation_id: str = ""
    subject: str = ""
    subject_prefix: str = ""


class Outbox:
    """One service's event stream.

    Args:
        source: The service, such as `registry`; part of each event's type.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def append(
        self,
        connection: Connection,
        kind: str,
        subject: str,
        now: datetime,
        data: Mapping[str, JSON] | None = None,
    ) -> str:
        """Tell of a change in the transaction that makes it.

        Args:
            connection: The write transaction.
            kind: What happened, such as `version.ready`.
            subject: Resource name it happened to.
            now: When.
            data: Facts about the change.

        Returns:
            The event's id, the causation of what follows from it.
        """
        event_id = str(uuid.uuid4())
        event_type = f"roundhouse.{self._source}.{kind}"
        origin = causality()
        connection.execute(
            _APPEND,
            {
                "id": event_id,
                "type": event_type,
                "source": self._source,
                "subject": subject,
                "time": now,
                "correlation_id": origin.correlation_id,
                "causation_id": origin.causation_id,
                "data": dict(data or {}),
            },
        )
        after_commit(connection, EVENTS.labels(event_type).inc)
        tell_after_commit(connection)
        return event_id


def read_after(
    connection: Connection, cursor: str, limit: int, wanted: EventFilter = EventFilter()
) -> tuple[list[Event], str]:
    """The next events after `cursor`, oldest first, and the cursor up to which all were looked at.

    Raises:
        InvalidCursor: The cursor was not made by this service.
    """
    after = _position(cursor)
    newest = _newest(connection)
    conditions = [EVENT.c.seq > after]
    if wanted.type_prefixes:
        conditions.append(
            or_(*(EVENT.c.type.startswith(p, autoescape=True) for p in wanted.type_prefixes))
        )
    if wanted.correlation_id:
        conditions.append(EVENT.c.correlation_id == wanted.correlation_id)
    if wanted.subject:
        conditions.append(EVENT.c.subject == wanted.subject)
    if wanted.subject_prefix:
        conditions.append(EVENT.c.subject.startswith(wanted.subject_prefix, autoescape=True))
    rows = connection.execute(
        select(EVENT).where(and_(*conditions)).order_by(EVENT.c.seq).limit(limit)
    ).all()
    events = [
        Event(
            id=row.id,
            cursor=str(row.seq),
            type=row.type,
            source=row.source,
            subject=row.subject,
            time=row.time,
            correlation_id=row.correlation_id,
            causation_id=row.causation_id,
            data=row.data,
        )
        for row in rows
    ]
    reached = events[-1].cursor if len(events) == limit else str(max(newest, after))
    return events, reached


def newest_cursor(connection: Connection) -> str:
    """Where a reader starts that wants only what has not happened yet."""
    return str(_newest(connection))


def _newest(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(EVENT.c.seq), 0))).scalar_one())


def _position(cursor: str) -> int:
    if not cursor:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise InvalidCursor(cursor)
    return int(cursor)
