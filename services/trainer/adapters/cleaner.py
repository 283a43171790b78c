"""Clears away what jobs that are over have left outside of their rows."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Final

import grpc
import structlog
from sqlalchemy import Connection

from services.common.blobs.errors import BlobStoreUnavailable
from services.common.blobs.port import BlobStore
from services.common.clock import Clock
from services.common.rpc.remote import RemoteError
from services.common.store.database import Database
from services.common.store.leases import Lease, guard
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.adapters.store.rows import Cleanup
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.core.failures import DependencyAway
from services.trainer.core.jobs import checkpoint_folder

log = structlog.get_logger()

PASS_INTERVAL_S: Final = 2.0


class Cleaner:
    """Removes checkpoints, and versions that a failed or cancelled job began.

    Args:
        database: The trainer's.
        blobs: With the checkpoints.
        registry: With the versions.
        now: The clock.
        rest: How long a worker may go on after its job was cancelled.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        registry: RegistryClient,
        now: Clock,
        *,
        rest: timedelta,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._registry = registry
        self._now = now
        self._rest = rest

    async def run(self, lease: Lease) -> None:
        """Clean until cancelled; what can't be cleaned now is tried again later."""
        while True:
            for cleanup in await self._database.read(self._pending):
                try:
                    await self._clean(lease, cleanup)
                except (DependencyAway, BlobStoreUnavailable, RemoteError) as error:
                    log.warning("cleanup.postponed", job=cleanup.job, cause=str(error))
            await asyncio.sleep(PASS_INTERVAL_S)

    async def _clean(self, lease: Lease, cleanup: Cleanup) -> None:
        if not cleanup.succeeded:
            try:
                await self._registry.abandon(cleanup.model, cleanup.job, uuid.UUID(cleanup.job_uid))
            except RemoteError as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
        for blob in await self._blobs.list_blobs(checkpoint_folder(cleanup.job_uid)):
            await self._blobs.delete(blob.key)

        def end(connection: Connection) -> None:
            guard(connection, lease)
            SqlTrainerTx(connection, self._now()).end_cleanup(cleanup.job_uid)

        await self._database.write(end)

    def _pending(self, connection: Connection) -> list[Cleanup]:
        return SqlTrainerTx(connection, self._now()).cleanups(self._rest)
