"""Rollouts that have to wait, as while an error budget is low: nothing begins, going back works."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.common.criteria import Verdict
from services.common.rpc.remote import DependencyUnavailable
from services.inference.core.rollouts import OnInconclusive, Phase, State
from services.inference.core.routing import WHOLE_BP
from services.inference.core.use_cases import rollouts as cases
from tests.support.rollout_world import World

LOW = "The error budget of answers was down to 5.0%."


@pytest.fixture
def world() -> World:
    return World()


async def test_no_first_phase_begins_until_the_hold_ends_and_the_rollout_says_so(world):
    world.create()
    world.peers.held_for = LOW
    await world.turn(5)
    assert (world.rollout().state, world.rollout().message) == (State.PREPARING, LOW)
    assert world.weights() == {"1": WHOLE_BP, "2": 0}
    assert world.tx.kinds.count("rollout.waits") == 1
    world.peers.held_for = ""
    await world.turn(2)
    assert (world.rollout().state, world.rollout().message) == (State.RUNNING, "")
    assert world.weights() == {"2": 500, "1": 9_500}


async def test_a_phase_that_passes_waits_with_its_share_and_goes_on_afterwards(world):
    world.create()
    await world.turn(2)
    world.peers.verdict, world.peers.held_for = Verdict.PASS, LOW
    world.peers.pass_time(days=9)
    await world.turn(3)
    assert (world.rollout().state, world.rollout().message) == (State.RUNNING, LOW)
    assert world.weights() == {"2": 500, "1": 9_500}
    assert world.tx.kinds.count("rollout.waits") == 1
    world.peers.held_for = ""
    await world.turn(6)
    assert (world.rollout().state, world.rollout().message) == (State.SUCCEEDED, "")


async def test_what_a_rollout_waited_for_is_forgotten_with_the_hold_also_without_a_verdict(world):
    world.create()
    await world.turn(2)
    world.peers.verdict, world.peers.held_for = Verdict.PASS, LOW
    await world.turn()
    world.peers.verdict, world.peers.held_for = Verdict.INCONCLUSIVE, ""
    await world.turn()
    assert (world.rollout().state, world.rollout().message) == (State.RUNNING, "")
    assert world.tx.kinds[-1] == "rollout.goes_on"


async def test_harm_rolls_back_and_people_have_the_last_word_whatever_is_held(world):
    world.create()
    await world.turn(2)
    world.peers.held_for = LOW
    cases.advance_rollout(world.tx, world.name, "", world.peers.now)
    assert world.rollout().current_phase == 1
    world.peers.verdict = Verdict.FAIL
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK


async def test_a_phase_whose_time_is_up_goes_on_by_its_plan_only_after_the_hold(world):
    goes_on = Phase(500, 10, timedelta(days=1), on_inconclusive=OnInconclusive.GO_ON)
    world.create(phases=(goes_on, Phase(WHOLE_BP)))
    await world.turn(2)
    world.peers.held_for = LOW
    world.peers.pass_time(days=2)
    await world.turn(2)
    assert world.rollout().current_phase == 0
    world.peers.held_for = ""
    await world.turn()
    assert world.rollout().current_phase == 1


async def test_a_monitor_that_is_away_holds_nothing_and_passes_nothing(world):
    world.create()
    world.peers.judge_error = DependencyUnavailable("monitor")
    await world.turn(4)
    assert world.rollout().state is State.RUNNING
    assert world.weights() == {"2": 500, "1": 9_500}
