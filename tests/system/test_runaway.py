"""The short version of the proof `runaway`: its bills; times are the long one's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.proofs.runaway import overspent
from tests.system.runaway import run_away

pytestmark = pytest.mark.real


async def test_a_runaway_search_and_a_storm_of_retries_spend_their_budgets(tmp_path: Path) -> None:
    found = await run_away(tmp_path, rounds=1, seconds=8, rate_per_s=20)
    assert {bill.job.rpartition("/")[2] for bill in found.bills} == {"sweep-0", "storm-0"}
    assert overspent(found.bills) == []
    assert found.failures == []
    assert found.quiet_ms
    assert found.busy_ms
