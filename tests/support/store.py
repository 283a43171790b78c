"""A migrated database for tests of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.common.store.database import Database
from services.common.store.migrations import migrate


@asynccontextmanager
async def common_database(url: str, empty_folder: Path) -> AsyncIterator[Database]:
    """A database with the common tables alone."""
    database = Database(url)
    try:
        await migrate(database, empty_folder)
        yield database
    finally:
        database.close()
