"""The loop with one service killed at every transition; `make soak NAME=kills` repeats it."""

from __future__ import annotations

import pytest

from tests.system.kills import run_killed_loop
from tests.system.suite import SERVICES

pytestmark = [pytest.mark.real, pytest.mark.timeout(480)]


@pytest.mark.parametrize("victim", SERVICES)
async def test_a_service_killed_at_every_transition_leaves_one_of_each(tmp_path, victim):
    loop = await run_killed_loop(tmp_path, victim)
    assert loop.violations == []
    assert any(loop.kills.values()), "it was never serving when it was killed"
