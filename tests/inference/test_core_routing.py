"""How traffic is split among variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.core.errors import InvalidWeights
from services.inference.core.routing import WHOLE_BP, Split, Variant, bucket, check_weights

shares = st.integers(0, WHOLE_BP)
keys = st.text(max_size=40)


def split_of(candidate_bp: int) -> Split:
    return Split([candidate_bp, WHOLE_BP - candidate_bp])


@given(keys, st.lists(shares, min_size=2, max_size=6).map(sorted))
def test_a_caller_that_got_the_candidate_keeps_it_while_its_share_grows(key, growing):
    place = bucket("projects/default/endpoints/e", key)
    positions = [split_of(share).position(place) for share in growing]
    assert positions == sorted(positions, reverse=True)


@given(keys, shares)
def test_one_key_always_gets_one_variant(key, share):
    place = bucket("e", key)
    assert place == bucket("e", key)
    assert split_of(share).position(place) in (0, 1)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=5))
def test_each_variant_owns_exactly_its_weight_in_buckets(weights):
    total = sum(weights)
    split = Split(weights)
    owned = [0] * len(weights)
    for place in range(total):
        owned[split.position(place)] += 1
    assert owned == weights


def test_distinct_keys_spread_evenly():
    got_candidate = sum(bucket("e", str(key)) < 500 for key in range(20_000))
    assert 850 < got_candidate < 1150


@pytest.mark.parametrize(
    "weights", [[5000], [5000, 5001], [10_001, -1], []], ids=["short", "long", "negative", "none"]
)
def test_weights_that_are_no_split_are_refused(weights):
    variants = [Variant(f"v/{i}", "d", weight) for i, weight in enumerate(weights)]
    with pytest.raises(InvalidWeights):
        check_weights(variants)


def test_a_version_may_not_appear_twice():
    with pytest.raises(InvalidWeights):
        check_weights([Variant("v/1", "d", 4000), Variant("v/1", "d", 6000)])
