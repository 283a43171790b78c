"""A migrated database of the monitor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from services.common.clock import utc_now
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.ports import MonitorTx
from services.monitor.wiring import MIGRATIONS

T = TypeVar("T")


@asynccontextmanager
async def monitor_database(url: str) -> AsyncIterator[Database]:
    """A database with the monitor's tables."""
    database = Database(url)
    try:
        await migrate(database, MIGRATIONS)
        yield database
    finally:
        database.close()


async def written(database: Database, work: Callable[[MonitorTx], T]) -> T:
    """What `work` gives in one write transaction."""
    return await database.write(lambda connection: work(SqlMonitorTx(connection, utc_now())))
