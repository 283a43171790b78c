"""Deciding about retraining: what fires, what is declined, and with which numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import Money
from services.common.resources import Meta
from services.monitor.core.deciding import decide
from services.monitor.core.evidence import Evidence, MeasuredQuality
from services.monitor.core.history import History
from services.monitor.core.resources import (
    DataFault,
    DecisionKind,
    FaultKind,
    QualityTrigger,
    RetrainBudget,
    RetrainPolicy,
)
from services.monitor.core.schedules import CronSchedule
from tests.support.monitor_values import JOB, POLICY

NOW = datetime(2013, 6, 3, tzinfo=UTC)
WEEK = timedelta(days=7)


def policy(**fields) -> RetrainPolicy:
    meta = Meta(POLICY, "u", 1, NOW, NOW)
    return RetrainPolicy(meta=meta, template_job=JOB, **{"min_new_outcomes": 100, **fields})


def evidence(**fields) -> Evidence:
    return Evidence(**{"event_time": NOW, "new_outcomes": 1000, **fields})


def measured(value: float, **fields) -> dict[str, MeasuredQuality]:
    found = {
        "metric": "auc",
        "value": value,
        "half_width": 0.01,
        "test_value": 0.75,
        "outcomes": 5000,
        "report": "performance",
        **fields,
    }
    return {found["metric"]: MeasuredQuality(**found)}


AUC = QualityTrigger("auc", 0.02, 500)


def reason_of(choice) -> tuple[str, str] | None:
    return choice and (choice.kind.value, choice.reason)


def test_nothing_is_decided_while_nothing_moves() -> None:
    every = policy(
        min_drifted_features=1,
        quality=AUC,
        volume_min_new_outcomes=10**6,
        schedule_period=timedelta(days=365),
    )
    calm = evidence(quality=measured(0.75), trained_until=NOW - WEEK)
    assert decide(every, calm, History()) is None


@pytest.mark.parametrize(
    ("fields", "facts", "reason"),
    [
        ({"min_drifted_features": 2}, {"drifted": ("a", "b")}, "DATA_DRIFT"),
        ({"quality": AUC}, {"quality": measured(0.70)}, "QUALITY"),
        ({"volume_min_new_outcomes": 1000}, {}, "VOLUME"),
        ({"schedule_period": 4 * WEEK}, {"trained_until": NOW - 4 * WEEK}, "SCHEDULE"),
    ],
)
def test_each_trigger_fires_at_its_own_bar(fields, facts, reason) -> None:
    choice = decide(policy(**fields), evidence(**facts), History())
    assert reason_of(choice) == ("TRIGGERED", reason)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"min_drifted_features": 2}, {"drifted": ("a",)}),
        ({"min_drifted_features": 1}, {"significant": ("a",)}),
        ({"quality": AUC}, {"quality": measured(0.725)}),
    ],
)
def test_a_trigger_that_comes_near_is_declined_as_marginal(fields, facts) -> None:
    choice = decide(policy(**fields), evidence(**facts), History())
    assert reason_of(choice) == ("DECLINED", "MARGINAL")


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"volume_min_new_outcomes": 1001}, {}),
        ({"schedule_period": 4 * WEEK}, {"trained_until": NOW - 3 * WEEK}),
        ({"schedule_period": 4 * WEEK}, {}),
        ({"quality": AUC}, {"quality": measured(0.735)}),
        ({"quality": AUC}, {"quality": measured(0.60, outcomes=499)}),
        ({"quality": AUC}, {"quality": measured(0.60, metric="log_loss")}),
        ({"min_drifted_features": 2}, {"significant": ("a",)}),
    ],
)
def test_below_its_bar_a_trigger_stays_silent(fields, facts) -> None:
    assert decide(policy(**fields), evidence(**facts), History()) is None


def test_a_drop_of_exactly_the_allowed_size_is_allowed() -> None:
    exact = measured(0.5, test_value=0.75, half_width=0.0)
    at_bar = policy(quality=QualityTrigger("auc", 0.25, 500))
    assert decide(at_bar, evidence(quality=exact), History()) is None
    just_below = policy(quality=QualityTrigger("auc", 0.2499, 500))
    assert reason_of(decide(just_below, evidence(quality=exact), History())) == (
        "TRIGGERED",
        "QUALITY",
    )


def test_a_log_loss_falls_in_quality_when_it_rises() -> None:
    trigger = policy(quality=QualityTrigger("log_loss", 0.05, 500))
    worse = measured(0.62, metric="log_loss", test_value=0.5)
    better = measured(0.38, metric="log_loss", test_value=0.5)
    assert reason_of(decide(trigger, evidence(quality=worse), History())) == (
        "TRIGGERED",
        "QUALITY",
    )
    assert decide(trigger, evidence(quality=better), History()) is None


@pytest.mark.parametrize(
    ("history", "facts", "reason", "numbers"),
    [
        (History("episodes/1"), {}, "EPISODE_ACTIVE", {}),
        (
            History(last_end=NOW - WEEK),
            {},
            "COOL_DOWN",
            {"rest_days": 7.0, "cool_down_days": 14.0},
        ),
        (
            History(last_end=NOW - 2 * WEEK),
            {"new_outcomes": 99},
            "TOO_FEW_OUTCOMES",
            {"new_outcomes": 99.0, "min_new_outcomes": 100.0},
        ),
        (
            History("episodes/1", last_end=NOW - WEEK),
            {"new_outcomes": 0},
            "EPISODE_ACTIVE",
            {},
        ),
    ],
)
def test_a_fired_trigger_is_declined_with_the_numbers(history, facts, reason, numbers) -> None:
    choice = decide(policy(min_drifted_features=1), evidence(drifted=("a",), **facts), history)
    assert reason_of(choice) == ("DECLINED", reason)
    assert choice is not None
    assert numbers.items() <= choice.numbers.items()
    assert choice.numbers["drifted_features"] == 1


@pytest.mark.parametrize(
    ("expression", "time_zone", "trained_until", "due"),
    [
        ("0 0 * * mon", "UTC", NOW - timedelta(days=6), True),
        ("0 0 * * mon", "UTC", NOW, False),
        ("1 0 * * mon", "UTC", NOW - timedelta(days=6), False),
        # One in the morning of that Monday is 5:00 UTC in New York, and 23:00 UTC before in Berlin.
        ("0 1 * * mon", "America/New_York", NOW - timedelta(days=6), False),
        ("0 1 * * mon", "Europe/Berlin", NOW - timedelta(days=6), True),
        ("0 0 * * mon", "UTC", None, False),
    ],
)
def test_a_moment_of_the_calendar_is_due_once_it_is_past(
    expression, time_zone, trained_until, due
) -> None:
    rules = policy(schedule_cron=CronSchedule(expression, time_zone))
    choice = decide(rules, evidence(trained_until=trained_until), History())
    assert reason_of(choice) == (("TRIGGERED", "SCHEDULE") if due else None)


def test_a_moment_of_the_calendar_starts_one_episode() -> None:
    rules = policy(schedule_cron=CronSchedule("0 0 * * mon"), cool_down=timedelta())
    old = evidence(trained_until=NOW - 3 * WEEK)
    done = History(last_end=NOW - timedelta(days=1), last_start=NOW)
    assert decide(rules, old, done) is None
    assert reason_of(decide(rules, old, History(last_start=NOW - WEEK))) == (
        "TRIGGERED",
        "SCHEDULE",
    )


def test_what_a_currency_can_not_say_is_no_ground_to_decline() -> None:
    dear = policy(
        quality=AUC,
        budget=RetrainBudget(Money(1, "EUR"), WEEK),
        worth_of_hundredth=Money(1, "EUR"),
    )
    spent = History(charges=((NOW, Money(10**9, "USD")),))
    choice = decide(dear, evidence(quality=measured(0.5)), spent)
    assert reason_of(choice) == ("TRIGGERED", "QUALITY")


BROKEN = DataFault(
    kind=FaultKind.UNIT_CHANGE, feature="wind", reason="wind is in knots.", numbers={"factor": 1.9}
)


def test_broken_data_are_never_learned_whatever_fires() -> None:
    for fields, facts in (
        ({"min_drifted_features": 1}, {"drifted": ("a",)}),
        ({"volume_min_new_outcomes": 1000}, {}),
        ({"schedule_period": WEEK}, {"trained_until": NOW - WEEK}),
    ):
        choice = decide(policy(**fields), evidence(faults=(BROKEN,), **facts), History())
        assert reason_of(choice) == ("DECLINED", "DATA_FAULT")
        assert choice is not None
        assert {"data_faults": 1, "wind.factor": 1.9}.items() <= choice.numbers.items()


def test_broken_data_that_pose_as_drift_are_declined_by_name() -> None:
    posing = evidence(faults=(BROKEN,), significant=("wind",))
    choice = decide(policy(min_drifted_features=1), posing, History())
    assert reason_of(choice) == ("DECLINED", "DATA_FAULT")
    assert decide(policy(volume_min_new_outcomes=10**6), posing, History()) is None


def test_the_reason_is_the_first_trigger_and_its_report() -> None:
    both = policy(min_drifted_features=1, quality=AUC)
    found = evidence(drifted=("a",), drift_report="drift", quality=measured(0.5))
    choice = decide(both, found, History())
    assert choice is not None
    assert (choice.reason, choice.report) == ("DATA_DRIFT", "drift")


windows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 300), st.integers(0, 4)), min_size=1, max_size=40
)


@given(windows)
def test_no_second_episode_begins_before_the_first_is_over_and_cooled_down(rows) -> None:
    """Each window brings drift, outcomes, and perhaps the end of the episode under way."""
    rules = policy(min_drifted_features=1, cool_down=2 * WEEK, min_new_outcomes=100)
    active, last_end, started = "", None, []
    for index, (drifted, outcomes, luck) in enumerate(rows):
        now = NOW + index * WEEK
        if active and luck == 0:
            active, last_end = "", now
        found = evidence(event_time=now, drifted=("a",) * drifted, new_outcomes=outcomes)
        choice = decide(rules, found, History(active, last_end))
        if choice is not None and choice.kind is DecisionKind.TRIGGERED:
            assert not active
            assert last_end is None or now - last_end >= rules.cool_down
            assert outcomes >= rules.min_new_outcomes
            active = f"episodes/{index}"
            started.append(now)
    assert len(started) <= 1 + sum(luck == 0 for _, _, luck in rows)
