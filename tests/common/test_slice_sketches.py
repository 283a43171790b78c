"""Columns counted slice by slice: exact, mergeable, the same however the rows are cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.profiles import ColumnProfile, feature_profiles
from services.common.sketches import BinMismatch, FrozenBins
from services.common.slice_sketches import (
    MAX_SLICE_VALUES,
    MAX_SLICING,
    SliceSketches,
    add_rows,
)
from services.common.sliced_profiles import slice_sketches

NUMBERS = st.one_of(st.floats(-3, 3, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
WORDS = st.sampled_from(["a", "b", "c", "", None])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(NUMBERS, min_size=1, max_size=40),
    st.lists(NUMBERS, min_size=1, max_size=40),
)
def test_the_group_of_a_number_is_that_of_its_bin(baseline, values):
    column = ColumnProfile.of(FrozenBins.numeric(baseline), baseline)
    values = [*values, *column.sketch.bins.edges]
    expected = column.groups[column.sketch.bins.indices(values)]
    assert column.groups_of(values).tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=40), st.lists(WORDS, min_size=1, max_size=40))
def test_the_group_of_a_word_is_that_of_its_bin(baseline, values):
    column = ColumnProfile.of(FrozenBins.categorical(baseline), baseline)
    expected = column.groups[column.sketch.bins.indices(values)]
    assert column.groups_of(values).tolist() == expected.tolist()


def test_a_column_of_many_values_has_some_twenty_groups():
    values = np.random.default_rng(0).normal(size=5000)
    column = ColumnProfile.of(FrozenBins.numeric(values), values)
    assert column.sketch.bins.size > 200
    assert column.group_count == 23
    inside = np.bincount(column.groups_of(values))[:20]
    assert abs(inside - 250).max() < 25


def sketched(
    cells: list[str | None], numbers: list[float], scores: list[float] | None = None
) -> dict[str, SliceSketches]:
    profiles = feature_profiles({"x": [0.0, 1.0, 2.0]}, categorical=(), time_us=None)
    scores = numbers if scores is None else scores
    return slice_sketches(
        profiles,
        {"x": numbers},
        {"by": cells},
        score=profiles["x"],
        scores=scores,
        scores_sliced_by={"by": cells[: len(scores)]},
    )


def test_each_value_is_a_slice_and_other_and_missing_ones_are_too():
    cells = ["a", "a", "b", "", None, *(f"v{place}" for place in range(MAX_SLICE_VALUES))]
    found = sketched(cells, [0.0, 1.0, np.nan, 2.0, 2.0, *[1.0] * MAX_SLICE_VALUES])["by"]
    assert found.by.labels[:1] == ("a",)
    assert found.by.labels[-2:] == ("(other)", "(missing)")
    assert len(found.by.labels) == MAX_SLICE_VALUES + 2
    rows = found.columns["x"].sum(axis=1)
    assert rows.sum() == len(cells)
    # Values beyond the twenty most frequent: two of them, of those that come once the last by name.
    assert rows[0] == 2
    assert rows[-2:].tolist() == [2, 2]


def test_scores_are_counted_on_the_rows_that_they_are_of():
    found = sketched(["a", "b", "b"], [0.0, 1.0, 2.0], scores=[2.0, 2.0])["by"]
    of_b = found.by.labels.index("b")
    assert found.columns["x"][of_b].sum() == 2
    assert found.score[of_b].sum() == 1


def test_only_the_first_features_slice():
    profiles = feature_profiles({"x": [0.0, 1.0]}, categorical=(), time_us=None)
    cells = {f"by{place}": ["a", "b"] for place in range(MAX_SLICING + 1)}
    found = slice_sketches(
        profiles,
        {"x": [0.0, 1.0]},
        cells,
        score=profiles["x"],
        scores=[0.0, 1.0],
        scores_sliced_by=cells,
    )
    assert list(found) == [f"by{place}" for place in range(MAX_SLICING)]


def counts_of(sketches: SliceSketches) -> list[object]:
    return [sketches.columns["x"].tolist(), sketches.score.tolist()]


def test_two_replicas_sketches_add_up_to_those_of_all_rows():
    cells, numbers = ["a", "b", "a", "b", ""], [0.0, 1.0, 2.0, np.nan, 5.0]
    whole = sketched(cells, numbers)["by"]
    parts = [whole.emptied(), whole.emptied()]
    for part, rows in zip(parts, (slice(0, 2), slice(2, 5)), strict=True):
        profile = feature_profiles({"x": [0.0, 1.0, 2.0]}, categorical=(), time_us=None)["x"]
        slices, groups = part.by.indices(cells[rows]), profile.groups_of(numbers[rows])
        add_rows(part.columns["x"], slices, groups)
        add_rows(part.score, slices, groups)
    assert counts_of(parts[0].merge(parts[1])) == counts_of(whole)
    assert counts_of(parts[1].merge(parts[0])) == counts_of(whole)


def test_sketches_of_other_slices_don_t_merge():
    with pytest.raises(BinMismatch, match="different slices or columns"):
        sketched(["a"], [0.0])["by"].merge(sketched(["b"], [0.0])["by"])


def test_sketches_survive_json():
    found = sketched(["a", "b", ""], [0.0, 1.0, np.nan])["by"]
    again = SliceSketches.from_json(json.loads(json.dumps(found.to_json())))
    assert again.by == found.by
    assert counts_of(again) == counts_of(found)
    assert again.columns["x"].dtype == np.int64
