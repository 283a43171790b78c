"""Dry runs: the same judgement on kept evidence, with the history it would have made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.common.money import Money
from services.common.resources import Meta
from services.monitor.core.deciding import decide
from services.monitor.core.evidence import Evidence, Judgement
from services.monitor.core.history import History
from services.monitor.core.loop.episodes import Episode, EpisodeState, charges_of
from services.monitor.core.replaying import known_cost, replayed, usual_span
from services.monitor.core.resources import DecisionKind, RetrainBudget, RetrainPolicy
from services.monitor.core.schedules import CronSchedule
from tests.support.monitor_values import CHAMPION, JOB, MONITOR, PLAN, POLICY

START = datetime(2013, 3, 4, tzinfo=UTC)
WEEK = timedelta(days=7)


def meta(name: str) -> Meta:
    return Meta(name, "u", 1, START, START)


def policy(**fields) -> RetrainPolicy:
    fields = {"min_new_outcomes": 100, "cool_down": 2 * WEEK, **fields}
    return RetrainPolicy(meta=meta(POLICY), template_job=JOB, **fields)


def judged(week: int, outcomes: int = 100, champion: str = CHAMPION, **fields) -> Judgement:
    end = START + week * WEEK
    return Judgement(
        meta=meta(f"{MONITOR}/judgements/{week}"),
        window_start=end - WEEK,
        champion=champion,
        outcomes=outcomes,
        evidence=Evidence(event_time=end, **{"new_outcomes": 1000, **fields}),
    )


def happened(week: int, until: int | None, state=EpisodeState.PROMOTED, **fields) -> Episode:
    return Episode(
        meta=meta(f"{MONITOR}/episodes/{week}"),
        state=state,
        plan=PLAN,
        decision=f"{MONITOR}/retrainDecisions/{week}",
        event_time=START + week * WEEK,
        champion=CHAMPION,
        end_event_time=None if until is None else START + until * WEEK,
        **fields,
    )


def kinds(told) -> list[tuple[int, str]]:
    return [((each.event_time - START) // WEEK, each.choice.reason) for each in told]


weeks = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 300), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=30,
)


@given(weeks)
def test_the_policy_that_really_decided_would_have_decided_the_same(rows):
    """Each week brings drift and outcomes, and the end of the episode under way, or not."""
    rules = policy(
        min_drifted_features=1,
        volume_min_new_outcomes=700,
        schedule_cron=CronSchedule("0 0 1 */2 *"),
        budget=RetrainBudget(Money(250, "USD"), 12 * WEEK),
    )
    judgements, episodes, decided = [], [], []
    trained_until, history = START - WEEK, History()
    for week, (drifted, outcomes, luck, promoted) in enumerate(rows):
        known = sum(each.outcomes for each in judgements if each.window_start >= trained_until)
        judgement = judged(
            week,
            outcomes,
            drifted=("a",) * drifted,
            new_outcomes=known + outcomes,
            trained_until=trained_until,
        )
        judgements.append(judgement)
        choice = decide(rules, judgement.evidence, history)
        if choice is not None:
            decided.append((week, choice.reason, choice.numbers))
            if choice.kind is DecisionKind.TRIGGERED:
                episodes.append(happened(week, None, EpisodeState.TRAINING))
                history = replace(history, active_episode=episodes[-1].meta.name)
                history = replace(history, last_start=judgement.event_time)
        if history.active_episode and luck % 2 == 0:
            state = EpisodeState.PROMOTED if promoted else EpisodeState.REJECTED
            now = judgement.event_time
            cost = Money(100, "USD") if luck < 2 else None
            ended = replace(episodes[-1], state=state, end_event_time=now, cost=cost)
            episodes[-1] = ended
            history = History("", now, ended.event_time, charges_of(episodes))
            trained_until = episodes[-1].event_time if promoted else trained_until
    again = list(replayed([rules], judgements, episodes, WEEK))
    assert [
        ((each.event_time - START) // WEEK, each.choice.reason, each.choice.numbers)
        for each in again
    ] == decided
    assert not any(each.hypothetical for each in again)
    started = [each.episode.real for each in again if each.episode]
    assert started == episodes


def test_an_assumed_episode_renews_the_training_data_and_is_marked():
    by_age = policy(schedule_period=4 * WEEK)
    past = [judged(week, trained_until=START - 3 * WEEK) for week in range(9)]
    told = list(replayed([by_age], past, [], WEEK))
    assert kinds(told) == [
        *((1, "SCHEDULE"), (2, "EPISODE_ACTIVE"), (5, "SCHEDULE"), (6, "EPISODE_ACTIVE"))
    ]
    first, _, second, _ = told
    assert (first.hypothetical, second.hypothetical) == (False, True)
    assert first.episode.end == first.event_time + WEEK
    assert first.episode.promoted
    assert first.episode.real is None
    assert second.choice.numbers["age_days"] == 28


def test_outcomes_count_from_the_rows_that_would_have_been_trained_on():
    by_volume = policy(volume_min_new_outcomes=300, cool_down=timedelta())
    past = [judged(week, 100, new_outcomes=250 + 100 * week) for week in range(6)]
    told = list(replayed([by_volume], past, [], timedelta()))
    assert kinds(told) == [(1, "VOLUME"), (4, "VOLUME")]
    assert [each.choice.numbers["new_outcomes"] for each in told] == [350, 300]


def test_an_episode_that_would_not_have_been_leaves_the_old_data_in_use():
    real = happened(1, 2)
    past = [judged(week, trained_until=START if week < 3 else START + WEEK) for week in range(9)]
    told = list(replayed([policy(schedule_period=6 * WEEK)], past, [real], WEEK))
    assert kinds(told)[0] == (6, "SCHEDULE")
    assert told[0].hypothetical
    assert told[0].episode.real is None


def test_what_was_before_the_range_is_as_it_was():
    earlier = happened(-2, -1, EpisodeState.REJECTED)
    told = list(
        replayed([policy(min_drifted_features=1)], [judged(0, drifted=("a",))], [earlier], WEEK)
    )
    assert kinds(told) == [(0, "COOL_DOWN")]
    under_way = happened(-1, None, EpisodeState.TRAINING)
    past = [judged(week, drifted=("a",)) for week in range(3)]
    told = list(replayed([policy(min_drifted_features=1)], past, [under_way], WEEK))
    assert {reason for _, reason in kinds(told)} == {"EPISODE_ACTIVE"}


def test_of_two_policies_the_first_to_fire_keeps_the_other_back():
    first = policy(min_drifted_features=1)
    second = replace(policy(volume_min_new_outcomes=1), meta=meta(f"{POLICY}-2"))
    told = list(replayed([first, second], [judged(0, drifted=("a",))], [], WEEK))
    assert [(each.policy, each.choice.reason) for each in told] == [
        (POLICY, "DATA_DRIFT"),
        (f"{POLICY}-2", "EPISODE_ACTIVE"),
    ]
    assert list(replayed([first], [], [], WEEK)) == []


def test_an_episode_lasts_and_costs_what_those_before_did():
    past = [
        happened(0, 1, cost=Money(5, "USD")),
        happened(3, 6, EpisodeState.FAILED, cost=Money(7, "USD")),
        happened(8, None, EpisodeState.TRAINING),
    ]
    assert usual_span(past, timedelta()) == WEEK
    assert known_cost(past) == Money(7, "USD")
    assert usual_span(past[2:], 2 * WEEK) == 2 * WEEK
    assert known_cost(past[2:]) is None
