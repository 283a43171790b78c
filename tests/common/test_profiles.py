"""A profile carries the baseline, and how far it moves by itself, through JSON."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    ScoredSample,
    feature_profiles,
    sample_rows,
)
from services.common.sketches import FrozenBins

DAY_US = 86_400_000_000


def test_a_profile_survives_json() -> None:
    times = np.array([0, DAY_US])
    score = ColumnProfile.of(FrozenBins.numeric([0.1, 0.9]), [0.1, 0.9], times)
    label = ColumnProfile.of(FrozenBins.numeric([0, 1]), [0, 1], times)
    features = feature_profiles(
        {"origin": ["EWR", "JFK"], "wind": [3.0, None]}, categorical={"origin"}, time_us=times
    )
    profile = Profile(features, score, label, 2)
    again = Profile.from_json(json.loads(json.dumps(profile.to_json())))
    assert again == profile
    assert again.to_json() == profile.to_json()
    assert again.features["wind"].blocks.shape[0] == 2
    assert again.held_out is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_scores_of_whole_rows_survive_json_to_the_bit(scores) -> None:
    columns = {"wind": np.arange(len(scores))}
    profiles = feature_profiles(columns, categorical=(), time_us=None)
    told = np.array(scores, np.float32)
    sample = ScoredSample.of(columns, profiles, told, np.arange(len(scores)))
    again = ScoredSample.from_json(json.loads(json.dumps(sample.to_json())))
    assert again.scores.dtype == np.float32
    assert again.scores.tobytes() == told.tobytes()
    assert np.array_equal(again.rows.codes, sample.rows.codes)


def test_a_sample_s_scores_are_those_of_its_rows_in_whatever_order_they_come() -> None:
    rows = 2_000
    times = np.random.default_rng(0).permutation(rows) * (DAY_US // 100)
    columns = {"wind": np.arange(rows, dtype=float), "gust": np.zeros(rows)}
    profiles = feature_profiles(columns, categorical=(), time_us=times)
    found = ScoredSample.of(columns, profiles, times / times.max(), times)
    assert found.scores.size == sample_rows(2) == 1_000
    assert np.all(np.diff(found.scores) > 0)
    assert np.array_equal(found.rows.codes, RowSample.of(columns, profiles, times).codes)
    kept = np.rint(found.scores * times.max() / (DAY_US // 100)).astype(int)
    winds = np.argsort(times)[kept].astype(float)
    assert np.array_equal(found.rows.codes[:, 0], profiles["wind"].sketch.bins.indices(winds))


def test_a_baseline_without_times_has_no_blocks() -> None:
    column = ColumnProfile.of(FrozenBins.numeric([1.0]), [1.0])
    assert column.blocks.shape[0] == 0
    assert ColumnProfile.from_json(column.to_json()).blocks.shape == column.blocks.shape
