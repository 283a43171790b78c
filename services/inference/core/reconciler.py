"""Brings what is served in line with the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from services.common.errors import ServiceError
from services.inference.core.endpoints import Endpoint
from services.inference.core.hosting import ModelHost
from services.inference.core.ports import Store

log = structlog.get_logger()


class Reconciler:
    """Brings what is served in line with the rows, again and again.

    Args:
        store: The rows.
        host: Serves.
        poll_s: How long a change that another replica wrote may stay unseen.
    """

    def __init__(self, store: Store, host: ModelHost, poll_s: float = 0.5) -> None:
        self._store = store
        self._host = host
        self._poll_s = poll_s
        self._seen: Sequence[Endpoint] | None = None
        self._written = asyncio.Event()

    def wake(self) -> None:
        """Look at once: this process has written."""
        self._written.set()

    async def refresh(self) -> None:
        """Serve what the rows say now."""
        endpoints = await self._store.read(lambda tx: tx.all_endpoints())
        if endpoints != self._seen:
            self._seen = endpoints
            self._host.apply(endpoints)

    async def run(self) -> None:
        """Refresh until cancelled; a database that is away changes nothing that is served."""
        while True:
            self._written.clear()
            try:
                await self.refresh()
            except ServiceError as error:
                log.warning("reconcile.failed", reason=error.reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._written.wait()
