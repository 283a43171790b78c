"""The short versions of the proofs `rollbacks` and `swaps`."""

from __future__ import annotations

import pytest

from tests.system.switches import roll_back_repeatedly, swap_repeatedly

pytestmark = pytest.mark.real


async def test_no_call_fails_while_bad_candidates_are_rolled_back(tmp_path):
    switches = await roll_back_repeatedly(tmp_path, rate_per_s=100.0, times=10)
    assert [switch.failures for switch in switches] == [()] * 10
    assert all(switch.answers for switch in switches)


async def test_no_call_fails_and_no_memory_is_left_behind_while_versions_are_swapped(tmp_path):
    swaps = await swap_repeatedly(tmp_path, rate_per_s=100.0, times=30)
    assert [failure for swap in swaps for failure in swap.failures] == []
    # A leaked session of even this tiny model would be 30 times its megabyte.
    assert swaps[-1].rss_bytes - swaps[9].rss_bytes < 20 << 20
