"""This service's own events, and how far the registry has been told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store import leases
from services.common.store.cursors import cursor_of, set_cursor
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.common.store.outbox import EventFilter, read_after
from services.inference.core.telling import TURNS, Happening

_READER: Final = "registry"
_TYPE: Final = "roundhouse.inference."
_WANTED: Final = EventFilter(type_prefixes=tuple(_TYPE + kind for kind in TURNS))


class OutboxHappenings:
    """Implements `Happenings` over the outbox.

    Args:
        database: The service's.
        lease: Of the one that tells.
        now: The clock.
    """

    def __init__(self, database: Database, lease: Lease, now: Clock) -> None:
        self._database = database
        self._lease = lease
        self._now = now
        self._looked_at = ""

    async def next(self, limit: int) -> Sequence[Happening]:
        """See `Happenings`."""

        def read(connection: Connection) -> tuple[Sequence[Happening], str]:
            # What was looked at in vain need not be looked at again, nor be written down.
            cursor = self._looked_at or cursor_of(connection, _READER)
            events, reached = read_after(connection, cursor, limit, _WANTED)
            happenings = [
                Happening(
                    id=event.id,
                    cursor=event.cursor,
                    kind=event.type.removeprefix(_TYPE),
                    subject=event.subject,
                    time=event.time,
                    data=event.data,
                    correlation_id=event.correlation_id,
                )
                for event in events
            ]
            return happenings, cursor if events else reached

        happenings, self._looked_at = await self._database.read(read)
        return happenings

    async def done(self, happening: Happening) -> None:
        """See `Happenings`."""

        def note(connection: Connection) -> None:
            leases.guard(connection, self._lease)
            set_cursor(connection, _READER, happening.cursor, self._now())

        await self._database.write(note)
        self._looked_at = happening.cursor
