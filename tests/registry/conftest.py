from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.registry_api import RegistryCaller, running_registry


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[RegistryCaller]:
    """A caller of a registry with the embedded defaults."""
    async with running_registry(tmp_path / "registry") as caller:
        yield caller
