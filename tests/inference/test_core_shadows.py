"""What a shadow phase counts, and what is made of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.errors import InvalidPhases
from services.inference.core.rollouts import (
    Phase,
    PhaseKind,
    ShadowPlan,
    State,
    check_phases,
)
from services.inference.core.routing import WHOLE_BP
from services.inference.core.shadows import (
    ALPHA,
    ShadowReport,
    Tally,
    agreement,
    latency_bin,
    latency_quantile_s,
    score_distance,
    score_shift,
)
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases.rollouts import advance_rollout, pause_rollout
from services.inference.core.use_cases.shadows import add_tally, judged
from tests.support.rollout_world import PHASES, World
from tests.support.serving import ENDPOINT, T0, version_name

SHADOW = Phase(0, kind=PhaseKind.SHADOW, shadow=ShadowPlan(2_000, 100, 0.9))
DARK = Phase(0, kind=PhaseKind.DARK)
REPORT = f"{ENDPOINT}/rollouts/r/shadows/0"

counts = st.integers(0, 10_000)
tallies = st.builds(
    Tally,
    *[counts] * 6,
    *[st.floats(-1e6, 1e6)] * 3,
    *[st.tuples(*[counts] * 20)] * 2,
    *[st.tuples(*[counts] * 72)] * 2,
)


def report(agreed: int, compared: int) -> ShadowReport:
    tally = Tally(compared=compared, agreed=agreed)
    return ShadowReport(Meta(REPORT, "s" * 8, 1, T0, T0), version_name(2), version_name(1), tally)


@given(tallies, tallies)
def test_two_tallies_add_up_to_that_of_both(one, two):
    both = one + two
    assert (both.mirrored, both.rows) == (one.mirrored + two.mirrored, one.rows + two.rows)
    assert sum(both.candidate_latencies) == sum(one.candidate_latencies) + sum(
        two.candidate_latencies
    )
    assert both == two + one


@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_agreement_lies_in_its_interval_within_zero_and_one(sample):
    same = agreement(Tally(compared=sample[1], agreed=sample[0]))
    assert 0.0 <= same.low <= same.value <= same.high <= 1.0
    assert same.low < same.high


def test_the_interval_misses_rarely_however_often_it_is_looked_at():
    draws = random.Random(7)
    missed = 0
    for _ in range(100):
        agreed = 0
        for n in range(10, 301, 10):
            agreed += sum(draws.random() < 0.9 for _ in range(10))
            same = agreement(Tally(compared=n, agreed=agreed))
            if not same.low <= 0.9 <= same.high:
                missed += 1
                break
    # Of 100 at 5 %, 5 are expected at most; three standard deviations more are 7.
    assert missed <= 100 * ALPHA + 7


def test_without_requests_nothing_is_claimed():
    assert agreement(Tally()) is None
    assert score_shift(Tally(compared=1)) is None
    assert score_distance(Tally()) == 0.0
    assert latency_quantile_s(Tally().champion_latencies, 0.5) is None


def test_a_shift_of_the_scores_is_told_with_its_interval():
    shift = score_shift(Tally(compared=100, shift_sum=10.0, shift_squares=2.0))
    assert shift.value == pytest.approx(0.1)
    assert shift.low < 0.1 < shift.high
    moved = Tally(rows=4, champion_scores=(4, *[0] * 19), candidate_scores=(1, *[0] * 18, 3))
    assert score_distance(moved) == pytest.approx(0.75)


@given(st.floats(1e-6, 6.0))
def test_a_latency_is_told_within_a_fifth(seconds):
    latencies = [0] * 72
    latencies[latency_bin(seconds)] = 1
    told = latency_quantile_s(latencies, 0.99)
    assert told >= seconds * 0.999
    assert told <= max(seconds * 1.2, 5e-5)


@pytest.mark.parametrize(
    ("agreed", "compared", "verdict"),
    [
        (99, 99, Verdict.INCONCLUSIVE),
        (1_000, 1_000, Verdict.PASS),
        (905, 1_000, Verdict.INCONCLUSIVE),
        (600, 1_000, Verdict.FAIL),
    ],
    ids=["few", "same", "close", "different"],
)
def test_a_shadow_is_judged_by_what_is_sure(agreed, compared, verdict):
    assert judged(report(agreed, compared), SHADOW.shadow).verdict is verdict


async def test_a_shadow_phase_mirrors_until_the_report_says_enough():
    world = World()
    world.create(phases=(SHADOW, *PHASES))
    await world.turn(2)
    held = endpoint_cases.get_endpoint(world.tx, ENDPOINT)
    assert world.weights() == {"2": 0, "1": WHOLE_BP}
    assert (held.shadow.version, held.shadow.report) == (version_name(2), REPORT)
    world.peers.verdict = Verdict.FAIL
    await world.turn(3)
    assert world.rollout().state is State.RUNNING, "the monitor knows nothing of shadows"
    add_tally(world.tx, REPORT, Tally(compared=1_000, agreed=1_000), T0)
    world.peers.verdict = Verdict.INCONCLUSIVE
    await world.turn()
    assert world.weights() == {"2": 500, "1": 9_500}
    assert endpoint_cases.get_endpoint(world.tx, ENDPOINT).shadow is None
    assert world.rollout().outcomes[0].numbers["compared"] == 1_000


async def test_a_version_that_decides_otherwise_never_gets_traffic():
    world = World()
    world.create(phases=(SHADOW, *PHASES))
    await world.turn(2)
    add_tally(world.tx, REPORT, Tally(compared=1_000, agreed=200), T0)
    await world.turn()
    assert world.rollout().state is State.ROLLED_BACK
    assert endpoint_cases.get_endpoint(world.tx, ENDPOINT).shadow is None
    assert world.weights() == {"1": WHOLE_BP}


async def test_a_paused_shadow_phase_mirrors_on_and_is_not_judged():
    world = World()
    world.create(phases=(SHADOW, *PHASES))
    await world.turn(2)
    pause_rollout(world.tx, world.name, "", T0)
    add_tally(world.tx, REPORT, Tally(compared=1_000, agreed=200), T0)
    await world.turn(2)
    assert world.rollout().state is State.PAUSED
    assert endpoint_cases.get_endpoint(world.tx, ENDPOINT).shadow is not None


async def test_a_dark_phase_ends_by_hand_or_goes_back():
    for ends_by_hand in (True, False):
        world = World()
        world.peers.verdict = Verdict.PASS
        world.create(phases=(DARK, Phase(WHOLE_BP)))
        await world.turn(4)
        assert world.weights() == {"2": 0, "1": WHOLE_BP}
        assert world.rollout().state is State.RUNNING
        if ends_by_hand:
            advance_rollout(world.tx, world.name, "", world.peers.now)
            assert world.weights() == {"2": WHOLE_BP, "1": 0}
        else:
            world.peers.pass_time(days=1)
            await world.turn()
            assert world.rollout().state is State.ROLLED_BACK


def test_what_is_counted_for_a_report_that_is_gone_is_gone():
    world = World()
    add_tally(world.tx, REPORT, Tally(compared=1), T0)
    assert world.tx.shadow_reports.get(REPORT) is None


@pytest.mark.parametrize(
    "phases",
    [
        (DARK,),
        (Phase(500), SHADOW, Phase(WHOLE_BP)),
        (Phase(500, kind=PhaseKind.DARK), Phase(WHOLE_BP)),
        (Phase(0, 10, kind=PhaseKind.DARK), Phase(WHOLE_BP)),
        (Phase(0, kind=PhaseKind.SHADOW), Phase(WHOLE_BP)),
        (Phase(WHOLE_BP, shadow=ShadowPlan()),),
    ],
    ids=["no share", "late", "dark share", "dark outcomes", "unsaid", "canary shadow"],
)
def test_phases_without_a_share_stand_first_and_promise_nothing_they_cannot_keep(phases):
    with pytest.raises(InvalidPhases):
        check_phases(phases)
