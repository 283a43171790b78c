"""`roundhouse.common.v1.EventService`, served alike by every service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import grpc
from roundhouse.common.v1 import events_pb2 as pb
from roundhouse.common.v1 import events_pb2_grpc as pb_grpc

from services.common.rpc.convert import to_struct, to_timestamp
from services.common.rpc.server import Api
from services.common.store.database import Database
from services.common.store.outbox import Event, EventFilter, read_after

EVENT_SERVICE: Final = pb.DESCRIPTOR.services_by_name["EventService"].full_name

BOOKMARK_INTERVAL_S: Final = 5.0
"""Half of what the contract promises, so that a busy moment breaks no promise."""

POLL_INTERVAL_S: Final = 0.25
"""How soon a replica's event is seen; this process's own writes wake the streams at once."""

_BATCH: Final = 256

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class EventServicer(pb_grpc.EventServiceServicer):
    """Streams one service's outbox.

    Args:
        database: With the outbox.
        poll_interval_s: How long an event that another process wrote may stay unseen.
        bookmark_interval_s: Longest silence of a stream that follows.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_interval_s: float = POLL_INTERVAL_S,
        bookmark_interval_s: float = BOOKMARK_INTERVAL_S,
    ) -> None:
        self._database = database
        self._poll_interval_s = poll_interval_s
        self._bookmark_interval_s = bookmark_interval_s
        self._told = asyncio.Event()
        database.on_event(self._wake)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, _: _Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Events after the cursor; in silences and at the end of the past, a bookmark."""
        wanted = EventFilter(tuple(request.type_prefixes), request.correlation_id, request.subject)
        now = asyncio.get_running_loop().time
        cursor = request.cursor
        bookmark_due = now()
        while True:
            told = self._told
            events, cursor = await self._next_batch(cursor, wanted)
            for event in events:
                yield pb.WatchEventsResponse(event=to_proto(event))
            if len(events) == _BATCH:
                continue
            if events and request.follow:
                bookmark_due = now() + self._bookmark_interval_s
            elif now() >= bookmark_due or not request.follow:
                yield pb.WatchEventsResponse(bookmark=cursor)
                bookmark_due = now() + self._bookmark_interval_s
            if not request.follow:
                return
            # On Python 3.11 asyncio.wait_for can swallow a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_interval_s):
                    await told.wait()

    def _wake(self) -> None:
        self._told.set()
        self._told = asyncio.Event()

    async def _next_batch(self, cursor: str, wanted: EventFilter) -> tuple[list[Event], str]:
        return await self._database.read(lambda tx: read_after(tx, cursor, _BATCH, wanted))


def event_api(database: Database) -> Api:
    """The EventService over `database`, to be served beside the service's own."""
    servicer = EventServicer(database)
    return EVENT_SERVICE, lambda server: pb_grpc.add_EventServiceServicer_to_server(
        servicer, server
    )


def to_proto(event: Event) -> pb.Event:
    """`event` as it goes over the wire."""
    return pb.Event(
        id=event.id,
        cursor=event.cursor,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=to_timestamp(event.time),
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        data=to_struct(event.data),
    )
