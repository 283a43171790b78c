"""The faults of the long proof, briefly."""

from __future__ import annotations

import pytest

from tests.system.faults import faults

BRIEF = faults(away_s=0.0, connections=1000, slow=20, kills=1, revived_s=60.0)


@pytest.mark.real
@pytest.mark.parametrize("name", BRIEF)
async def test_a_fault_costs_nothing_that_was_promised(tmp_path, name):
    seen = await BRIEF[name](tmp_path)
    assert seen.violations == []
    assert seen.figures
