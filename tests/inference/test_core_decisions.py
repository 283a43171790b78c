"""How probabilities become decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import InvalidPolicy
from services.inference.core.policies import (
    ClassThreshold,
    CostedAction,
    CostRule,
    ThresholdRule,
)

probabilities = st.floats(0, 1, width=32)
shares = st.floats(0, 1)
costs = st.integers(-50, 50).map(float)


def thresholds(zero: float, one: float, abstain: str = "") -> ThresholdRule:
    classes = (ClassThreshold(0, zero, "none"), ClassThreshold(1, one, "rebook"))
    return ThresholdRule(classes, abstain)


@given(probabilities, shares)
def test_the_label_is_one_from_the_threshold_on(probability, threshold):
    decision = DecisionPolicy(threshold=threshold).decider("e").decide(probability)
    assert decision.label == (probability >= threshold)
    assert decision.confidence == (probability if decision.label else 1 - probability)


@given(st.lists(probabilities, min_size=1, max_size=20), shares, shares)
def test_many_rows_are_labelled_as_each_one_is(scores, threshold, minimum):
    policy = DecisionPolicy(
        threshold=threshold, minimum_confidence=minimum, abstain_action="review"
    ).decider("e")
    labels = policy.labels(np.array(scores, dtype=np.float32))
    assert labels.tolist() == [policy.decide(score).label for score in scores]


@given(probabilities, shares, shares)
def test_too_little_confidence_is_what_abstains(probability, threshold, minimum):
    policy = DecisionPolicy(
        threshold=threshold,
        positive_action="rebook",
        negative_action="none",
        minimum_confidence=minimum,
        abstain_action="review",
    )
    decision = policy.decider("e").decide(probability)
    assume(abs(decision.confidence - minimum) > 1e-12)
    sure = "rebook" if decision.label else "none"
    assert decision.action == (sure if decision.confidence > minimum else "review")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"minimum_confidence": -1.0}, "minimum_confidence"),
        ({"minimum_confidence": 0.6}, "abstain_action"),
    ],
)
def test_policies_that_contradict_themselves_are_refused(fields, field):
    with pytest.raises(InvalidPolicy) as refused:
        DecisionPolicy(**fields)
    assert [each.field for each in refused.value.violations] == [f"decision_policy.{field}"]


@given(probabilities, shares, shares)
def test_a_class_is_decided_on_from_its_threshold_and_between_them_none_is(probability, zero, one):
    assume(zero + one > 1.000001)
    decision = thresholds(zero, one, "review").decider("p", 1).decide(probability)
    if probability >= one:
        assert (decision.label, decision.action) == (1, "rebook")
    elif 1.0 - probability > zero:
        assert (decision.label, decision.action) == (0, "none")
    elif 1.0 - probability < zero:
        assert (decision.label, decision.action) == (int(probability >= 0.5), "review")


@given(probabilities, shares)
def test_thresholds_that_add_up_to_one_leave_nothing_undecided(probability, one):
    decision = thresholds(1.0 - one, one).decider("p", 1).decide(probability)
    assert decision.action == ("rebook" if probability >= one else "none")


@given(st.lists(st.tuples(costs, costs), min_size=2, max_size=6), probabilities)
def test_no_action_would_cost_less_than_the_one_that_is_decided_on(matrix, probability):
    actions = tuple(CostedAction(f"a{place}", each, place % 2) for place, each in enumerate(matrix))
    try:
        rule = CostRule(actions)
    except InvalidPolicy as refused:
        (violation,) = refused.violations
        assert "never the least" in violation.description
        return
    decision = rule.decider("p", 1).decide(probability)
    chosen = next(each for each in actions if each.name == decision.action)
    least = min(each.expected(probability) for each in actions)
    assert chosen.expected(probability) == pytest.approx(least, abs=1e-9)
    assert decision.label == chosen.label


def test_an_action_that_holds_back_takes_the_more_probable_label():
    rule = CostRule(
        (
            CostedAction("none", (0.0, 10.0), 0),
            CostedAction("review", (1.0, 1.5)),
            CostedAction("rebook", (4.0, 0.0), 1),
        )
    )
    decider = rule.decider("projects/p/policies/x/versions/7", 7)
    made = [decider.decide(each) for each in (0.05, 0.3, 0.55, 0.9)]
    assert [(each.label, each.action) for each in made] == [
        (0, "none"),
        (0, "review"),
        (1, "review"),
        (1, "rebook"),
    ]
    assert (decider.name, decider.version) == ("projects/p/policies/x/versions/7", 7)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: thresholds(0.2, 0.3), "thresholds.classes"),
        (lambda: thresholds(0.8, 0.8), "thresholds.abstain_action"),
        (lambda: thresholds(0.3, 0.7, "review"), "thresholds.abstain_action"),
        (lambda: ThresholdRule((ClassThreshold(0, 0.5, "a"),)), "thresholds.classes"),
        (
            lambda: ThresholdRule((ClassThreshold(0, 0.5, "a"), ClassThreshold(2, 0.5, "b"))),
            "thresholds.classes[1].label",
        ),
        (
            lambda: ThresholdRule((ClassThreshold(0, 0.5, "a"), ClassThreshold(1, 0.5, ""))),
            "thresholds.classes[1].action",
        ),
        (lambda: CostRule((CostedAction("a", (0.0, 1.0)),)), "costs.actions"),
        (
            lambda: CostRule((CostedAction("a", (0.0, 1.0)), CostedAction("b", (1.0,)))),
            "costs.actions[1].costs",
        ),
        (
            lambda: CostRule((CostedAction("a", (0.0, 1.0)), CostedAction("b", (1.0, 2.0)))),
            "costs.actions[1].costs",
        ),
        (
            lambda: CostRule((CostedAction("a", (0.0, 1.0), 5), CostedAction("b", (1.0, 0.0)))),
            "costs.actions[0].label",
        ),
        (
            lambda: CostRule((CostedAction("a", (0.0, 1.0)), CostedAction("a", (1.0, 0.0)))),
            "costs.actions",
        ),
    ],
    ids=[
        "both classes at once",
        "a band without an action",
        "an action without a band",
        "one class only",
        "an unknown class",
        "a class without an action",
        "one action only",
        "too few costs",
        "never the cheapest",
        "an action for an unknown class",
        "one name twice",
    ],
)
def test_a_rule_that_contradicts_itself_or_the_classes_names_the_field(make, field):
    with pytest.raises(InvalidPolicy) as refused:
        make()
    assert [each.field for each in refused.value.violations] == [f"policy_version.{field}"]
