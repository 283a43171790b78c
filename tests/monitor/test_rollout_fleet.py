"""A few of the simulated rollouts that `make soak NAME=verdicts` runs by the thousand."""

from __future__ import annotations

import pytest

from services.common.criteria import Verdict
from services.inference.core.rollouts import State
from tests.support.rollout_fleet import HARMS, NO_HARM, Ending, run_fleet
from tests.system.proofs.verdicts import Setting, so_far


def test_harmless_candidates_come_into_service_and_harmful_ones_go_back(tmp_path):
    harms = [NO_HARM, *HARMS["everywhere"], *HARMS["slice"]]
    sound, *harmful = run_fleet(tmp_path, harms, seed=1000)
    assert sound.state is State.SUCCEEDED
    assert all(each.is_rolled_back and each.names_its_culprit for each in harmful)


@pytest.mark.parametrize(("is_sound", "bar"), [(True, "<= 5%"), (False, ">= 90%")])
def test_a_row_says_what_a_run_that_may_be_stopped_has_found_so_far(is_sound, bar):
    back = Ending(NO_HARM, State.ROLLED_BACK, (), Verdict.FAIL, {}, looks=4)
    on = Ending(NO_HARM, State.SUCCEEDED, (), Verdict.PASS, {}, looks=2)
    row = so_far(Setting("some", [NO_HARM], 1_000, is_sound), [back, on, on, on])
    assert row.startswith("some: 4 of 1,000, caught ")
    assert ("1 (25.0%" in row) is is_sound
    assert bar in row
    assert row.endswith("2.5 looks each")


def test_at_the_edge_of_what_is_tolerated_only_proven_harm_counts(tmp_path):
    edge = Setting("edge", HARMS["edge"], 4, is_sound=True, at_the_edge=True)
    undecided = Ending(HARMS["edge"][0], State.ROLLED_BACK, (), Verdict.INCONCLUSIVE, {}, looks=9)
    (harmful,) = run_fleet(tmp_path, [HARMS["everywhere"][0]], seed=1000)
    assert not edge.catches(undecided)
    assert edge.catches(harmful)
