"""The short version of the proof `workers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.worker_kills import run_killed_workers

pytestmark = pytest.mark.real


async def test_searches_survive_the_kills_of_workers_and_of_the_trainer(tmp_path: Path) -> None:
    told: list[int] = []
    found = await run_killed_workers(
        tmp_path, seed=11, kills=3, tell=lambda found: told.append(found.jobs)
    )
    assert found.violations == []
    assert found.kills.total() == 3
    assert told == list(range(1, found.jobs + 1))
