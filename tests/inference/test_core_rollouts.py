"""Rollouts: what callers and the controller do to them, over rows in memory."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.criteria import Criteria, Verdict
from services.common.errors import Unavailable
from services.common.resources import Meta
from services.inference.core.controller import RolloutController
from services.inference.core.errors import (
    BundleCorrupt,
    IllegalRolloutMove,
    InvalidPhases,
    NothingToRollBackTo,
    RolloutExists,
    RolloutInProgress,
)
from services.inference.core.rollouts import OnInconclusive, Phase, State, check_phases
from services.inference.core.routing import WHOLE_BP, Variant
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import rollouts as cases
from tests.support.inference_memory import FakePeers, MemoryInferenceTx, MemoryStore
from tests.support.serving import ENDPOINT, T0, endpoint, version_name

OLD = Variant(version_name(1), "sha256:" + "1" * 64, WHOLE_BP)
PHASES = (Phase(500, 10), Phase(5000, 20), Phase(WHOLE_BP, 0))
ALIAS = "projects/default/models/delays/aliases/champion"


class Away(Unavailable):
    reason = "DEPENDENCY_UNAVAILABLE"


class World:
    """One endpoint, its rollouts, and a controller that a test turns by hand."""

    def __init__(self) -> None:
        self.tx = MemoryInferenceTx()
        self.peers = FakePeers(aliases={ALIAS: OLD.version})
        endpoint_cases.create_endpoint(self.tx, endpoint([OLD], alias="champion"))

    def create(self, number: int = 2, phases: tuple[Phase, ...] = PHASES, rollout_id: str = "r"):
        meta = Meta(f"{ENDPOINT}/rollouts/{rollout_id}", rollout_id * 8, 1, T0, T0)
        version = version_name(number)
        digest = f"sha256:{number}" + "0" * 63
        return cases.create_rollout(
            self.tx,
            cases.NewRollout(
                meta,
                ENDPOINT,
                version,
                digest,
                f"{version}/approvals/a",
                phases,
                "episode",
                "drift",
            ),
        )

    async def turn(self, times: int = 1) -> None:
        for _ in range(times):
            # A controller of its own each time: what it knows is in the rows.
            controller = RolloutController(
                MemoryStore(self.tx), self.peers, self.peers, self.peers, self.peers.clock
            )
            await controller.pass_once()

    def rollout(self, rollout_id: str = "r"):
        return cases.get_rollout(self.tx, f"{ENDPOINT}/rollouts/{rollout_id}")

    def weights(self) -> dict[str, int]:
        held = endpoint_cases.get_endpoint(self.tx, ENDPOINT)
        return {v.version.rpartition("/")[2]: v.weight_bp for v in held.variants}

    @property
    def name(self) -> str:
        return f"{ENDPOINT}/rollouts/r"


@pytest.fixture
def world() -> World:
    return World()


async def promoted(world: World, number: int = 2, rollout_id: str = "r") -> None:
    world.create(number, rollout_id=rollout_id)
    world.peers.verdict = Verdict.PASS
    await world.turn(6)
    assert world.rollout(rollout_id).state is State.SUCCEEDED


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
