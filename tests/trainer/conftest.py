from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.trainer.wiring import MIGRATIONS
from tests.support.trainer_api import TrainerCaller, running_trainer


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[TrainerCaller]:
    """A caller of a trainer with the embedded defaults, beside a registry."""
    async with running_trainer(tmp_path) as caller:
        yield caller


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The trainer's database, empty."""
    database = Database(database_url)
    await migrate(database, MIGRATIONS)
    yield database
    database.close()
