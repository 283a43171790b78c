"""A few of the simulated rollouts that `make soak NAME=verdicts` runs by the thousand."""

from __future__ import annotations

from services.inference.core.rollouts import State
from tests.support.rollout_fleet import HARMS, NO_HARM, run_fleet


def test_harmless_candidates_come_into_service_and_harmful_ones_go_back(tmp_path):
    harms = [NO_HARM, *HARMS["everywhere"], *HARMS["slice"]]
    sound, *harmful = run_fleet(tmp_path, harms, seed=1000)
    assert sound.state is State.SUCCEEDED
    assert all(each.is_rolled_back and each.names_its_culprit for each in harmful)
