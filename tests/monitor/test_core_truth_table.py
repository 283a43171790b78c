"""The whole truth table of a retrain policy, and input that flaps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import NamedTuple

import pytest

from services.common.money import Money
from services.common.resources import Meta
from services.monitor.core.deciding import decide
from services.monitor.core.evidence import (
    Evidence,
    Happened,
    Judgement,
    LowBudget,
    MeasuredQuality,
    SlowAnswers,
)
from services.monitor.core.history import History
from services.monitor.core.replaying import replayed
from services.monitor.core.resources import (
    DataFault,
    Efficiency,
    EventTrigger,
    FaultKind,
    NewFeatureTrigger,
    QualityTrigger,
    RetrainBudget,
    RetrainPolicy,
    ServingPrice,
)
from services.monitor.core.schedules import CronSchedule
from tests.support.monitor_values import CHAMPION, DATASET, JOB, MONITOR, POLICY

NOW = datetime(2013, 6, 3, tzinfo=UTC)
DAY = timedelta(days=1)
TRAINED = NOW - 40 * DAY

# What each condition can be: fields of the policy, and fields of the evidence.
DRIFT = {
    "unasked": ({}, {"drifted": ("a", "b"), "significant": ("a", "b")}),
    "none": ({"min_drifted_features": 2}, {}),
    "near": ({"min_drifted_features": 2}, {"drifted": ("a",)}),
    "fired": ({"min_drifted_features": 2}, {"drifted": ("a", "b")}),
}
AUC = {"quality": QualityTrigger("auc", 0.02, 500)}
QUALITY = {
    "unasked": ({}, 0.5, 500),
    "too few": (AUC, 0.5, 499),
    "calm": (AUC, 0.735, 500),
    "near": (AUC, 0.725, 500),
    "fired": (AUC, 0.70, 500),
}
VOLUME = {
    "below": {"volume_min_new_outcomes": 1001},
    "fired": {"volume_min_new_outcomes": 1000},
}
SCHEDULE = {
    "unasked": {},
    "not due": {"schedule_period": 41 * DAY},
    "due": {"schedule_period": 40 * DAY},
    "cron not due": {"schedule_cron": CronSchedule("1 0 3 6 *")},
    "cron due": {"schedule_cron": CronSchedule("0 0 3 6 *")},
}
KINDS = {"events": EventTrigger(("catalog-changed",), (DATASET,))}
EVENTS = {
    "unasked": ({}, (Happened("catalog-changed", "e", "New wings.", NOW),)),
    "other": (KINDS, (Happened("strike", "e", "No crew.", NOW),)),
    "before": (KINDS, (Happened(DATASET, "e", "Sealed.", TRAINED - DAY),)),
    "fired": (KINDS, (Happened(DATASET, "e", "Sealed.", TRAINED),)),
}
TWO = {"new_features": NewFeatureTrigger(2, ("tail",))}
NEW_FEATURES = {
    "unasked": ({}, ("gust", "snow", "tail")),
    "none": (TWO, ("tail",)),
    "near": (TWO, ("snow", "tail")),
    "fired": (TWO, ("gust", "snow", "tail")),
}
REFUSALS = (
    *("EPISODE_ACTIVE", "DATA_FAULT", "PRIVACY_HOLD", "TRAINING_FROZEN"),
    *("COOL_DOWN", "TOO_FEW_OUTCOMES", "BUDGET", "MARGINAL_GAIN"),
)
LOW = LowBudget(f"{MONITOR}/slos/answers", 0.05, 0.25)
BROKEN = DataFault(kind=FaultKind.STUCK_SENSOR, feature="wind", reason="Stuck.", numbers={})


class Row(NamedTuple):
    """One row of the table: how each condition is, and what stands against a retraining."""

    drift: str
    quality: str
    volume: str
    schedule: str
    events: str
    new_features: str
    refusals: frozenset[str]


def decided(row: Row):
    """What the policy decides; the cost of the last episode is known, 100 USD."""
    refusals = row.refusals
    auc_rules, auc, outcomes = QUALITY[row.quality]
    event_rules, events = EVENTS[row.events]
    column_rules, columns = NEW_FEATURES[row.new_features]
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW),
        template_job=JOB,
        min_new_outcomes=1001 if "TOO_FEW_OUTCOMES" in refusals else 1000,
        privacy_hold="Consent is awaited." if "PRIVACY_HOLD" in refusals else "",
        budget=RetrainBudget(Money(199 if "BUDGET" in refusals else 200, "USD"), 28 * DAY),
        worth_of_hundredth=Money(1 if "MARGINAL_GAIN" in refusals else 100, "USD")
        if auc_rules
        else None,
        **{**DRIFT[row.drift][0], **auc_rules, **VOLUME[row.volume], **SCHEDULE[row.schedule]},
        **event_rules,
        **column_rules,
    )
    measured = MeasuredQuality(
        metric="auc", value=auc, half_width=0.01, test_value=0.75, outcomes=outcomes, report="p"
    )
    known = Evidence(
        event_time=NOW,
        faults=(BROKEN,) if "DATA_FAULT" in refusals else (),
        quality={"auc": measured},
        new_outcomes=1000,
        trained_until=TRAINED,
        low_budget=LOW if "TRAINING_FROZEN" in refusals else None,
        events=events,
        new_features=columns,
        **DRIFT[row.drift][1],
    )
    history = History(
        active_episode="episodes/1" if "EPISODE_ACTIVE" in refusals else "",
        last_end=NOW - (13 if "COOL_DOWN" in refusals else 14) * DAY,
        charges=((NOW - 27 * DAY, Money(100, "USD")),),
    )
    choice = decide(rules, known, history)
    return choice and (choice.kind.value, choice.reason)


def wanted(row: Row):
    """What is to be decided, by the tables of docs/monitoring.md."""
    fired = {
        "DATA_DRIFT": row.drift == "fired",
        "QUALITY": row.quality == "fired",
        "VOLUME": row.volume == "fired",
        "SCHEDULE": row.schedule in ("due", "cron due"),
        "EVENT": row.events == "fired",
        "NEW_FEATURES": row.new_features == "fired",
    }
    applies = dict.fromkeys(row.refusals, True)
    if row.quality in ("unasked", "too few"):
        applies["MARGINAL_GAIN"] = False
    for reason, has_fired in fired.items():
        if has_fired:
            refused = [refusal for refusal in REFUSALS if applies.get(refusal)]
            return ("DECLINED", refused[0]) if refused else ("TRIGGERED", reason)
    if "DATA_FAULT" in row.refusals and row.drift != "unasked":
        return ("DECLINED", "DATA_FAULT")
    near = "near" in (row.drift, row.quality, row.new_features)
    return ("DECLINED", "MARGINAL") if near else None


def test_every_row_of_the_truth_table_is_decided_as_it_is_written():
    subsets = [
        frozenset(name for name, chosen in zip(REFUSALS, row, strict=True) if chosen)
        for row in product((False, True), repeat=len(REFUSALS))
    ]
    triggers = (DRIFT, QUALITY, VOLUME, SCHEDULE, EVENTS, NEW_FEATURES)
    # Only drift and quality have refusals of their own; the other triggers are alike to them.
    rest = (["not due"], ["unasked"], ["unasked"])
    rows = {Row(*row) for row in product(DRIFT, QUALITY, VOLUME, *rest, subsets)}
    few = [subset for subset in subsets if len(subset) in (0, 1, len(REFUSALS))]
    rows |= {Row(*row) for row in product(*triggers, few)}
    assert len(rows) == 4 * 5 * 2 * (256 + (5 * 4 * 4 - 1) * 10)
    assert [row for row in rows if decided(row) != wanted(row)] == []
    reasons = {found[1] for row in rows if (found := wanted(row))}
    assert reasons == {
        *REFUSALS,
        *("DATA_DRIFT", "QUALITY", "VOLUME", "SCHEDULE", "EVENT", "NEW_FEATURES", "MARGINAL"),
    }


def judged(day: int, **fields) -> Judgement:
    end = NOW + day * DAY
    return Judgement(
        meta=Meta(f"{MONITOR}/judgements/{day}", "u", 1, NOW, NOW),
        window_start=end - DAY,
        champion=CHAMPION,
        outcomes=1000,
        evidence=Evidence(**{"event_time": end, "new_outcomes": 5000, **fields}),
    )


def test_drift_that_comes_and_goes_each_day_retrains_as_often_as_the_cool_down_allows():
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW), template_job=JOB, min_drifted_features=1
    )
    year = [judged(day, drifted=("a",) if day % 2 else ()) for day in range(365)]
    told = list(replayed([rules], year, [], DAY))
    starts = [each.event_time for each in told if each.episode]
    gaps = {later - earlier for earlier, later in pairwise(starts)}
    # A day for the episode and fourteen to cool down are fifteen; every other day has drift.
    assert gaps == {16 * DAY}
    assert len(starts) == 23
    assert len(told) == 182


def test_quality_that_flaps_within_its_interval_never_retrains():
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW), template_job=JOB, quality=AUC["quality"]
    )
    year = []
    for day in range(365):
        value = 0.75 - 0.02 + (0.009 if day % 2 else -0.009)
        found = MeasuredQuality("auc", value, 0.01, 0.75, 500, "p")
        year.append(judged(day, quality={"auc": found}))
    told = list(replayed([rules], year, [], DAY))
    assert {each.choice.reason for each in told} == {"MARGINAL"}
    assert len(told) == 183


def test_a_critical_policy_retrains_while_training_is_frozen():
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW), template_job=JOB, min_drifted_features=1
    )
    frozen = Evidence(event_time=NOW, drifted=("a",), new_outcomes=5000, low_budget=LOW)
    declined = decide(rules, frozen, History())
    assert (declined.kind.value, declined.reason) == ("DECLINED", "TRAINING_FROZEN")
    assert declined.numbers["budget_remaining"] == 0.05
    assert declined.numbers["budget_until_above"] == 0.25
    assert "answers was down to 5.0%, until more than 25.0%" in declined.explanation
    assert decide(replace(rules, critical=True), frozen, History()).kind.value == "TRIGGERED"


def test_an_event_counts_once_through_cool_down_and_until_an_episode_is_decided_on_after_it():
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW), template_job=JOB, events=KINDS["events"]
    )
    first = Happened("catalog-changed", "e1", "New wings.", NOW + 3 * DAY)
    second = Happened("catalog-changed", "e2", "New engines.", NOW + 8 * DAY)

    def known(day):
        return tuple(each for each in (second, first) if each.event_time < NOW + day * DAY)[:1]

    month = [judged(day, events=known(day)) for day in range(1, 31)]
    told = [
        (each.event_time - NOW, each.choice.kind.value, each.choice.reason)
        for each in replayed([rules], month, [], DAY)
    ]
    # One episode each; the second waits out the first's day and the fourteen to cool down.
    assert told == [
        (4 * DAY, "TRIGGERED", "EVENT"),
        *((day * DAY, "DECLINED", "COOL_DOWN") for day in range(9, 19)),
        (19 * DAY, "TRIGGERED", "EVENT"),
    ]


def test_a_new_column_that_comes_and_goes_retrains_once_and_another_one_again():
    rules = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW), template_job=JOB, new_features=NewFeatureTrigger()
    )

    def known(day):
        flaps = ("gust",) if day % 2 else ()
        return (*flaps, "snow") if day >= 100 else flaps

    year = [judged(day, new_features=known(day)) for day in range(365)]
    told = list(replayed([rules], year, [], DAY))
    assert [(each.event_time - NOW) / DAY for each in told if each.episode] == [1, 100]
    assert {each.choice.reason for each in told} <= {"NEW_FEATURES", "EPISODE_ACTIVE", "COOL_DOWN"}


SLOW = SlowAnswers(f"{MONITOR}/slos/fast", timedelta(milliseconds=250), 14.5, 0.4)
DEAR = Efficiency(ServingPrice(Money(400_000, "USD"), Money(134_399, "USD")))
CHEAP = Efficiency(ServingPrice(Money(400_000, "USD"), Money(134_400, "USD")))


def test_to_distil_is_recommended_when_only_speed_or_price_is_the_problem():
    """A week at 0.40 USD an hour is 67.20 USD: 0.1344 for each thousand of 500,000."""
    rows = list(product(QUALITY, (None, SLOW), (None, CHEAP, DEAR, Efficiency()), (0, 2)))
    for quality, slow, efficiency, drifted in rows:
        rules, auc, outcomes = QUALITY[quality]
        policy = RetrainPolicy(
            meta=Meta(POLICY, "u", 1, NOW, NOW),
            template_job=JOB,
            min_drifted_features=2,
            efficiency=efficiency,
            **rules,
        )
        measured = MeasuredQuality("auc", auc, 0.01, 0.75, outcomes, "p")
        known = Evidence(
            event_time=NOW,
            drifted=("a", "b")[:drifted],
            quality={"auc": measured},
            new_outcomes=5000,
            slow=slow,
            predictions=500_000,
            window=7 * DAY,
        )
        choice = decide(policy, known, History())
        problem = efficiency is not None and (slow is not None or efficiency is DEAR)
        expected = quality == "calm" and problem and not drifted
        assert (choice is not None and choice.reason == "DISTIL") == expected, (quality, efficiency)


def test_the_recommendation_to_distil_has_its_numbers():
    policy = RetrainPolicy(
        meta=Meta(POLICY, "u", 1, NOW, NOW),
        template_job=JOB,
        efficiency=DEAR,
        quality=AUC["quality"],
    )
    measured = MeasuredQuality("auc", 0.74, 0.01, 0.75, 500, "report")
    known = Evidence(
        event_time=NOW,
        quality={"auc": measured},
        slow=SLOW,
        predictions=500_000,
        window=7 * DAY,
    )
    choice = decide(policy, known, History())
    assert (choice.kind.value, choice.reason, choice.report) == ("DECLINED", "DISTIL", "report")
    wanted = {
        "latency_bound_ms": 250.0,
        "burn_rate": 14.5,
        "budget_remaining": 0.4,
        "predictions": 500_000,
        "price_per_thousand": 0.1344,
        "max_price_per_thousand": 0.134399,
        "auc": 0.74,
        "max_drop": 0.02,
    }
    assert {name: choice.numbers[name] for name in wanted} == pytest.approx(wanted)
    assert "fast wants answers within 250 ms" in choice.explanation
    assert "A thousand of 500,000 predictions cost" in choice.explanation
