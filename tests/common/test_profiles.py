"""A profile carries the baseline, and how far it moves by itself, through JSON."""

from __future__ import annotations

import json

import numpy as np

from services.common.profiles import ColumnProfile, Profile, feature_profiles
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


def test_a_baseline_without_times_has_no_blocks() -> None:
    column = ColumnProfile.of(FrozenBins.numeric([1.0]), [1.0])
    assert column.blocks.shape[0] == 0
    assert ColumnProfile.from_json(column.to_json()).blocks.shape == column.blocks.shape
