"""The loop's episodes, written under its controller's lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.use_cases.retraining import save_episode


class SqlEpisodeStore:
    """Implements `EpisodeStore`.

    Args:
        database: The monitor's.
        lease: Of the controller.
        now: The clock.
    """

    def __init__(self, database: Database, lease: Lease, now: Clock) -> None:
        self._database = database
        self._lease = lease
        self._now = now

    async def unfinished(self) -> Sequence[Episode]:
        """See `EpisodeStore`."""
        return await self._database.read(
            lambda connection: SqlMonitorTx(connection, self._now()).unfinished_episodes()
        )

    async def save(self, episode: Episode, facts: Mapping[str, str]) -> Episode:
        """See `EpisodeStore`."""

        def write(connection: Connection) -> Episode:
            leases.guard(connection, self._lease)
            return save_episode(SqlMonitorTx(connection, self._now()), episode, facts)

        return await self._database.write(write)
