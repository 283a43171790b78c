"""How probabilities become decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import InvalidPolicy

probabilities = st.floats(0, 1, width=32)


@given(probabilities, st.floats(0, 1))
def test_the_label_is_one_from_the_threshold_on(probability, threshold):
    decision = DecisionPolicy(threshold=threshold).decide(probability)
    assert decision.label == (probability >= threshold)
    assert decision.confidence == (probability if decision.label else 1 - probability)


@given(st.lists(probabilities, min_size=1, max_size=20), st.floats(0, 1))
def test_many_rows_are_labelled_as_each_one_is(scores, threshold):
    policy = DecisionPolicy(threshold=threshold)
    labels = policy.labels(np.array(scores, dtype=np.float32))
    assert labels.tolist() == [policy.decide(score).label for score in scores]


@pytest.mark.parametrize(
    ("probability", "action"), [(0.9, "rebook"), (0.1, "none"), (0.55, "review"), (0.45, "review")]
)
def test_too_little_confidence_asks_for_another_action(probability, action):
    policy = DecisionPolicy(
        positive_action="rebook",
        negative_action="none",
        minimum_confidence=0.6,
        abstain_action="review",
    )
    assert policy.decide(probability).action == action


@pytest.mark.parametrize(
    "fields", [{"threshold": 1.5}, {"minimum_confidence": -1.0}, {"minimum_confidence": 0.6}]
)
def test_policies_that_contradict_themselves_are_refused(fields):
    with pytest.raises(InvalidPolicy):
        DecisionPolicy(**fields)
