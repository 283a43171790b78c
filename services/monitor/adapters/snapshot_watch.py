"""Hears of snapshots that are sealed in the registry, for policies that ask for them."""

from __future__ import annotations

from typing import Final

import grpc
import structlog
from roundhouse.common.v1 import events_pb2 as events_pb
from roundhouse.common.v1 import events_pb2_grpc as events_grpc
from roundhouse.registry.v1 import dataset_service_pb2 as dataset_pb
from roundhouse.registry.v1 import dataset_service_pb2_grpc as dataset_grpc
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import RemoteError, remote_errors
from services.common.store import leases
from services.common.store.cursors import cursor_of, set_cursor
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.adapters.listening import keep_listening
from services.monitor.core.names import parent_of
from services.monitor.core.use_cases.events import (
    SealedSnapshot,
    datasets_asked_about,
    note_sealed,
)

log = structlog.get_logger()

LOOK_S: Final = 2.0
"""How soon a snapshot is known: far sooner than a window is judged."""

_READER: Final = "registry-snapshots"
_SEALED: Final = "roundhouse.registry.snapshot.sealed"
_PEER: Final = "registry"
_TIMEOUT_S: Final = 60.0


class SnapshotWatch:
    """Reads the registry's events from where it stopped; one process at a time.

    Args:
        database: The monitor's, with the place it has come to.
        registry: Channel to it.
        now: The clock.
    """

    def __init__(self, database: Database, registry: grpc.aio.Channel, now: Clock) -> None:
        self._database = database
        self._events = events_grpc.EventServiceStub(registry)
        self._datasets = dataset_grpc.DatasetServiceStub(registry)
        self._now = now

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        await keep_listening(lambda: self._catch_up(lease), LOOK_S, peer=_PEER)

    async def _catch_up(self, lease: Lease) -> None:
        """Go on to the newest event, also while nobody asks: what was sealed by then is no news."""
        asked, cursor = await self._database.read(self._place)
        request = events_pb.WatchEventsRequest(cursor=cursor, type_prefixes=[_SEALED])
        with remote_errors(_PEER):
            async for told in self._events.WatchEvents(request, timeout=_TIMEOUT_S):
                if told.HasField("bookmark"):
                    if told.bookmark != cursor:
                        await self._note(lease, told.bookmark, None)
                elif parent_of(told.event.subject) in asked:
                    await self._note(lease, told.event.cursor, await self._sealed(told.event))

    def _place(self, connection: Connection) -> tuple[frozenset[str], str]:
        tx = SqlMonitorTx(connection, self._now())
        return datasets_asked_about(tx), cursor_of(connection, _READER)

    async def _sealed(self, event: events_pb.Event) -> SealedSnapshot | None:
        request = dataset_pb.GetSnapshotRequest(name=event.subject)
        try:
            with remote_errors(_PEER):
                snapshot = await self._datasets.GetSnapshot(request)
        except RemoteError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None  # deleted since
            raise
        return SealedSnapshot(
            event_id=event.id,
            name=event.subject,
            rows=snapshot.cleaning.rows_kept,
            columns=tuple(column.name for column in snapshot.columns),
            seal_time=from_timestamp(event.time),
            episode=event.correlation_id,
        )

    async def _note(self, lease: Lease, cursor: str, sealed: SealedSnapshot | None) -> None:
        def note(connection: Connection) -> None:
            leases.guard(connection, lease)
            if sealed is not None:
                note_sealed(SqlMonitorTx(connection, self._now()), sealed)
            set_cursor(connection, _READER, cursor, self._now())

        await self._database.write(note)
