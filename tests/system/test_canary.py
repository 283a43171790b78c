"""The short version of the proof `conformance`."""

from __future__ import annotations

import pytest

from tests.system.canary import run_callers

pytestmark = pytest.mark.real


async def test_stock_clients_and_load_generators_run_through_a_canary(tmp_path):
    asked = {"tritonclient": 300, "tritonclient.aio": 300, "k6": 1_000, "h2load": 3_000}
    runs = await run_callers(tmp_path, "native", asked)
    assert [run.caller for run in runs] == list(asked)
    assert [violation for run in runs for violation in run.violations] == []
