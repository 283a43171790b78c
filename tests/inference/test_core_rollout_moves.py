"""Rollouts moved by hand, one after the other, and by whatever comes, over rows in memory."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.errors import (
    BundleCorrupt,
    IllegalRolloutMove,
    InvalidPhases,
    NothingToRollBackTo,
    RolloutExists,
    RolloutInProgress,
)
from services.inference.core.rollouts import Phase, State, check_phases
from services.inference.core.routing import WHOLE_BP
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import rollouts as cases
from tests.support.rollout_world import ALIAS, OLD, World, promoted
from tests.support.serving import ENDPOINT, T0


@pytest.fixture
def world() -> World:
    return World()


async def test_pausing_holds_weights_and_time(world):
    world.create(phases=(Phase(500, 10, timedelta(hours=1)), Phase(WHOLE_BP)))
    await world.turn(2)
    cases.pause_rollout(world.tx, world.name, "", world.peers.now)
    world.peers.verdict = Verdict.FAIL
    world.peers.pass_time(days=3)
    await world.turn(3)
    assert world.weights() == {"2": 500, "1": 9_500}
    world.peers.verdict = Verdict.INCONCLUSIVE
    cases.resume_rollout(world.tx, world.name, "", world.peers.now)
    world.peers.pass_time(minutes=59)
    await world.turn()
    assert world.rollout().state is State.RUNNING
    world.peers.pass_time(minutes=2)
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK


async def test_a_rollout_paused_before_its_first_phase_starts_over(world):
    world.create()
    await world.turn()
    cases.pause_rollout(world.tx, world.name, "", world.peers.now)
    cases.resume_rollout(world.tx, world.name, "", world.peers.now)
    assert world.rollout().state is State.PENDING
    await world.turn(2)
    assert world.weights() == {"2": 500, "1": 9_500}


async def test_advancing_by_hand_ends_the_phase_as_passed(world):
    world.create()
    await world.turn(2)
    for _ in range(3):
        cases.advance_rollout(world.tx, world.name, "", world.peers.now)
    await world.turn()
    assert world.rollout().state is State.SUCCEEDED
    assert {outcome.reason for outcome in world.rollout().outcomes} == {cases.BY_HAND}


async def test_cancelling_gives_the_traffic_back_at_once(world):
    world.create()
    await world.turn(2)
    cancelled = cases.cancel_rollout(world.tx, world.name, "", "not now", world.peers.now)
    assert cancelled.state is State.CANCELLED
    assert world.weights() == {"1": 10_000}


async def test_rolling_back_brings_the_previous_version_and_links_both_rollouts(world):
    await promoted(world)
    meta = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, world.peers.now, world.peers.now)
    back = cases.rollback_endpoint(world.tx, meta, ENDPOINT, "on call says so")
    assert world.weights() == {"1": 10_000}
    await world.turn()
    assert world.rollout("back").state is State.SUCCEEDED
    assert world.peers.aliases[ALIAS] == OLD.version
    assert back.rollback_of == world.name
    assert world.rollout().rolled_back_by == back.name
    with pytest.raises(NothingToRollBackTo):
        cases.rollback_endpoint(
            world.tx, replace(meta, name=f"{ENDPOINT}/rollouts/x"), ENDPOINT, "again"
        )


async def test_a_rollback_carries_the_approval_of_the_version_that_it_restores(world):
    await promoted(world)
    await promoted(world, 3, "s")
    first, second = world.rollout(), world.rollout("s")
    meta = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, world.peers.now, world.peers.now)
    back = cases.rollback_endpoint(world.tx, meta, ENDPOINT, "on call says so")
    assert (back.version, back.approval) == (first.version, first.approval)
    assert (back.plan_digest, back.rollback_of) == (first.plan_digest, second.name)


async def test_back_to_what_an_endpoint_began_with_is_allowed_by_what_allowed_that(world):
    await promoted(world)
    meta = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, world.peers.now, world.peers.now)
    back = cases.rollback_endpoint(world.tx, meta, ENDPOINT, "on call says so")
    held = endpoint_cases.get_endpoint(world.tx, ENDPOINT)
    assert (back.version, back.approval) == (OLD.version, held.initial_approval)
    assert world.tx.events[-1].data["approval"] == held.initial_approval


async def test_an_endpoint_that_never_rolled_out_has_nothing_to_go_back_to(world):
    meta = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, T0, T0)
    with pytest.raises(NothingToRollBackTo):
        cases.rollback_endpoint(world.tx, meta, ENDPOINT, "why not")


async def test_the_version_to_go_back_to_stays_loaded_through_a_failed_rollout(world):
    await promoted(world)
    world.create(3, rollout_id="s")
    await world.turn(2)
    assert world.weights() == {"3": 500, "1": 0, "2": 9_500}
    world.peers.verdict = Verdict.FAIL
    await world.turn()
    assert world.weights() == {"1": 0, "2": 10_000}


async def test_one_endpoint_has_one_rollout_at_a_time(world):
    world.create()
    with pytest.raises(RolloutInProgress):
        world.create(3, rollout_id="s")
    with pytest.raises(RolloutInProgress):
        endpoint_cases.delete_endpoint(world.tx, ENDPOINT, "", T0)
    with pytest.raises(RolloutExists):
        world.create(3)


def test_a_version_that_serves_already_is_not_rolled_out(world):
    with pytest.raises(InvalidPhases):
        world.create(1)


@pytest.mark.parametrize(
    "phases",
    [
        (),
        (Phase(500),),
        (Phase(5000), Phase(500), Phase(WHOLE_BP)),
        (Phase(0), Phase(WHOLE_BP)),
        (Phase(WHOLE_BP, 0, timedelta(0)),),
        (Phase(WHOLE_BP), Phase(WHOLE_BP)),
    ],
    ids=["none", "partial", "shrinking", "empty", "instant", "twice"],
)
def test_phases_that_do_not_lead_to_the_whole_traffic_are_refused(phases):
    with pytest.raises(InvalidPhases):
        check_phases(phases)


def set_peers(**changes):
    return lambda world: vars(world.peers).update(changes)


_BY_HAND = {
    "advance": lambda world: cases.advance_rollout(world.tx, world.name, "", world.peers.now),
    "pause": lambda world: cases.pause_rollout(world.tx, world.name, "", world.peers.now),
    "resume": lambda world: cases.resume_rollout(world.tx, world.name, "", world.peers.now),
    "cancel": lambda world: cases.cancel_rollout(world.tx, world.name, "", "", world.peers.now),
    "pass": set_peers(verdict=Verdict.PASS),
    "fail": set_peers(verdict=Verdict.FAIL),
    "break": set_peers(load=BundleCorrupt("v", "p", "a", "b")),
    "wait": lambda world: world.peers.pass_time(hours=13),
}


@given(st.lists(st.sampled_from(["turn", *_BY_HAND]), max_size=25))
def test_whatever_happens_all_traffic_is_served_and_terminal_states_stay(moves):
    async def scenario() -> None:
        world = World()
        world.create()
        over = None
        for move in moves:
            with contextlib.suppress(IllegalRolloutMove):
                await world.turn() if move == "turn" else _BY_HAND[move](world)
            assert sum(world.weights().values()) == WHOLE_BP
            state = world.rollout().state
            assert over in (None, state)
            over = state if world.rollout().is_over else None
            if over in (State.ROLLED_BACK, State.CANCELLED, State.FAILED):
                assert world.weights() == {"1": WHOLE_BP}

    asyncio.run(scenario())
