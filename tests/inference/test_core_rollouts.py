"""Rollouts: what callers and the controller do to them, over rows in memory."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.common.criteria import Criteria, Verdict
from services.common.errors import Unavailable
from services.inference.core.errors import (
    BundleCorrupt,
)
from services.inference.core.rollouts import OnInconclusive, Phase, State
from services.inference.core.routing import WHOLE_BP
from services.inference.core.use_cases import rollouts as cases
from tests.support.rollout_world import ALIAS, OLD, World, promoted
from tests.support.serving import T0, version_name


class Away(Unavailable):
    reason = "DEPENDENCY_UNAVAILABLE"


@pytest.fixture
def world() -> World:
    return World()


async def test_a_version_that_passes_goes_through_all_phases_into_service(world):
    world.create()
    seen = [world.weights()]
    await world.turn(2)
    world.peers.verdict = Verdict.PASS
    for _ in range(4):
        seen.append(world.weights())
        await world.turn()
    assert seen == [
        {"1": 10_000},
        {"2": 500, "1": 9_500},
        {"2": 5_000, "1": 5_000},
        {"2": 10_000, "1": 0},
        {"2": 10_000, "1": 0},
    ]
    assert world.weights() == {"1": 0, "2": 10_000}
    rollout = world.rollout()
    assert rollout.state is State.SUCCEEDED
    assert [outcome.verdict for outcome in rollout.outcomes] == [Verdict.PASS] * 3
    assert world.peers.aliases[ALIAS] == version_name(2)
    assert world.tx.kinds == [
        "endpoint.created",
        "rollout.created",
        "rollout.preparing",
        "rollout.phase_started",
        "rollout.phase_passed",
        "rollout.phase_started",
        "rollout.phase_passed",
        "rollout.phase_started",
        "rollout.phase_passed",
        "rollout.succeeded",
    ]


async def test_each_event_follows_from_the_one_before(world):
    await promoted(world)
    events = world.tx.events[1:]
    assert {event.correlation_id for event in events} == {"episode"}
    assert [event.causation_id for event in events] == ["drift", *(e.id for e in events[:-1])]


async def test_a_version_gets_no_traffic_before_it_is_loaded(world):
    world.create()
    world.peers.load = False
    await world.turn(5)
    assert world.rollout().state is State.PREPARING
    assert world.weights() == {"2": 0, "1": 10_000}


async def test_a_worse_version_loses_its_traffic_at_once(world):
    world.create()
    await world.turn(2)
    world.peers.verdict = Verdict.FAIL
    await world.turn()
    assert world.weights() == {"1": 10_000}
    assert world.rollout().state is State.ROLLED_BACK
    assert world.tx.kinds[-1] == "rollout.rolled_back"
    assert world.peers.aliases[ALIAS] == OLD.version


async def test_a_version_that_fails_on_its_callers_rolls_back_without_a_verdict(world):
    world.create()
    await world.turn(2)
    world.peers.fails = True
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK
    assert world.weights() == {"1": 10_000}


async def test_too_little_evidence_rolls_back_only_when_the_time_is_over(world):
    world.create(phases=(Phase(500, 10, timedelta(hours=1)), Phase(WHOLE_BP)))
    await world.turn(2)
    world.peers.pass_time(minutes=59)
    await world.turn()
    assert world.rollout().state is State.RUNNING
    world.peers.pass_time(minutes=1)
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK
    assert world.rollout().outcomes[-1].verdict is Verdict.INCONCLUSIVE


async def test_too_little_evidence_holds_the_rollout_where_the_plan_says_so(world):
    first = Phase(500, 10, timedelta(hours=1), on_inconclusive=OnInconclusive.HOLD)
    world.create(phases=(first, Phase(WHOLE_BP)))
    await world.turn(2)
    world.peers.pass_time(hours=1)
    await world.turn()
    held = world.rollout()
    assert held.state is State.PAUSED
    assert held.outcomes[-1].numbers == {"p_value": 0.5}
    assert held.outcomes[-1].end_time is None
    assert world.weights() == {"2": 500, "1": 9_500}
    world.peers.pass_time(days=3)
    cases.resume_rollout(world.tx, world.name, "", world.peers.now)
    world.peers.pass_time(minutes=59)
    await world.turn()
    assert world.rollout().state is State.RUNNING
    world.peers.verdict = Verdict.PASS
    await world.turn()
    assert world.weights() == {"2": 10_000, "1": 0}


async def test_too_little_evidence_lets_the_rollout_go_on_where_the_plan_says_so(world):
    carefree = {"max_duration": timedelta(hours=1), "on_inconclusive": OnInconclusive.GO_ON}
    world.create(phases=(Phase(500, 10, **carefree), Phase(WHOLE_BP, **carefree)))
    await world.turn(2)
    for _ in range(2):
        world.peers.pass_time(hours=1)
        await world.turn()
    await world.turn()
    assert world.rollout().state is State.SUCCEEDED
    assert {outcome.verdict for outcome in world.rollout().outcomes} == {Verdict.INCONCLUSIVE}


async def test_harm_rolls_back_whatever_the_plan_says_of_too_little_evidence(world):
    world.create(phases=(Phase(500, on_inconclusive=OnInconclusive.GO_ON), Phase(WHOLE_BP)))
    await world.turn(2)
    world.peers.verdict = Verdict.FAIL
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK


async def test_phases_that_declare_no_alpha_share_that_of_the_rollout(world):
    declared = Phase(5000, criteria=Criteria(alpha=0.01))
    rollout = world.create(phases=(Phase(500), declared, Phase(WHOLE_BP)))
    alphas = [rollout.criteria(phase).alpha for phase in range(3)]
    assert alphas == [pytest.approx(0.05 / 3), 0.01, pytest.approx(0.05 / 3)]


async def test_while_the_monitor_is_away_no_phase_passes(world):
    world.create()
    await world.turn(2)
    world.peers.judge_error = Away("away")
    await world.turn(3)
    assert world.weights() == {"2": 500, "1": 9_500}
    world.peers.pass_time(days=2)
    await world.turn()
    assert "monitor" in world.rollout().message
    assert world.rollout().state is State.ROLLED_BACK


async def test_the_monitor_is_asked_about_the_phase_alone(world):
    world.create()
    await world.turn(2)
    world.peers.pass_time(minutes=5)
    world.peers.verdict = Verdict.PASS
    await world.turn(2)
    assert world.peers.asked[-2:] == [(T0, 10), (T0 + timedelta(minutes=5), 20)]


async def test_a_corrupt_version_fails_and_traffic_never_moves(world):
    world.create()
    await world.turn()
    world.peers.load = BundleCorrupt(version_name(2), "model.onnx", "a", "b")
    await world.turn()
    assert world.rollout().state is State.FAILED
    assert "model.onnx" in world.rollout().message
    assert world.weights() == {"1": 10_000}


async def test_a_passing_failure_to_load_is_waited_out_up_to_a_limit(world):
    world.create()
    world.peers.load = Away("registry away")
    await world.turn(4)
    assert world.rollout().state is State.PREPARING
    world.peers.pass_time(minutes=11)
    await world.turn()
    assert world.rollout().state is State.FAILED


async def test_promotion_waits_for_the_registry_without_losing_traffic(world):
    world.create()
    world.peers.verdict = Verdict.PASS
    world.peers.registry_error = Away("away")
    await world.turn(8)
    assert world.rollout().state is State.RUNNING
    assert world.weights()["2"] == 10_000
    world.peers.registry_error = None
    await world.turn()
    assert world.rollout().state is State.SUCCEEDED


async def test_an_alias_that_somebody_else_moved_is_left_and_reported(world):
    world.create()
    world.peers.verdict = Verdict.PASS
    world.peers.aliases[ALIAS] = version_name(9)
    await world.turn(6)
    assert world.rollout().state is State.SUCCEEDED
    assert "alias was not moved" in world.rollout().message
    assert world.peers.aliases[ALIAS] == version_name(9)
