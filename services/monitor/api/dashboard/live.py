"""Tells open pages what happens, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Final

from aiohttp import web

from services.common.store.database import Database
from services.common.store.outbox import Event, newest_cursor, read_after

MAX_PAGES: Final = 64
"""Open pages; each costs a connection and a read of the database per poll."""

POLL_INTERVAL_S: Final = 2.0
"""How soon another replica's event is seen; this process's own writes wake the pages at once."""

_BATCH: Final = 64


class LiveEvents:
    """Streams the monitor's outbox from now on to each page that asks.

    Args:
        database: With the outbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written = asyncio.Event()
        self._closing = False
        self._pages = 0
        database.on_write(self._wake)

    async def close(self, _: web.Application) -> None:
        """End every stream: the server is about to stop."""
        self._closing = True
        self._wake()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Events until the page goes away or the server stops.

        Raises:
            HTTPServiceUnavailable: As many are open as can be; the browser does not try again.
        """
        if self._pages >= MAX_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MAX_PAGES} pages are open already.")
        self._pages += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            cursor = await self._database.read(newest_cursor)
            await response.prepare(request)
            with suppress(ConnectionResetError):  # the page went away
                await self._tell(response, cursor)
        finally:
            self._pages -= 1
        return response

    async def _tell(self, response: web.StreamResponse, cursor: str) -> None:
        while not self._closing:
            written = self._written
            events, cursor = await self._next_batch(cursor)
            for event in events:
                await response.write(_message(event))
            if len(events) == _BATCH:
                continue
            if not events:
                await response.write(b":\n\n")  # finds out whether the page is still there
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await written.wait()

    async def _next_batch(self, cursor: str) -> tuple[list[Event], str]:
        return await self._database.read(lambda tx: read_after(tx, cursor, _BATCH))

    def _wake(self) -> None:
        self._written.set()
        self._written = asyncio.Event()


def _message(event: Event) -> bytes:
    told = {"type": event.type, "subject": event.subject, "time": event.time.isoformat()}
    return f"data: {json.dumps(told)}\n\n".encode()
