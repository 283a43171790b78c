from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.ports import RegistryTx
from services.registry.wiring import MIGRATIONS
from tests.support.registry_api import RegistryCaller, running_registry
from tests.support.registry_memory import EPOCH, MemoryRegistryTx
from tests.support.registry_values import Commit


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[RegistryCaller]:
    """A caller of a registry with the embedded defaults."""
    async with running_registry(tmp_path / "registry") as caller:
        yield caller


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.real)])
async def commit(request: pytest.FixtureRequest) -> AsyncIterator[Commit]:
    """A store of each kind, in turn."""
    if request.param == "memory":
        tx = MemoryRegistryTx()
        yield lambda work: work(tx)
        return
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    await migrate(database, MIGRATIONS)

    def run(work: Callable[[RegistryTx], None]) -> None:
        database.write_now(lambda connection: work(SqlRegistryTx(connection, EPOCH)))

    yield run
    database.close()
