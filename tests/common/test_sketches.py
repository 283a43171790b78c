"""Sketches count exactly, merge in any order and replay to the same bits."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.sketches import (
    BinKind,
    BinMismatch,
    FrozenBins,
    Sketch,
    block_counts,
    coarse_counts,
)

floats = st.one_of(st.floats(width=32), st.none())
words = st.one_of(st.sampled_from(["EWR", "JFK", "LGA", "SFO", ""]), st.none())


@given(st.lists(floats), st.lists(floats))
def test_each_number_is_counted_in_exactly_one_bin(
    baseline: list[float | None], values: list[float | None]
) -> None:
    bins = FrozenBins.numeric(pa.array(baseline, pa.float32()))
    sketch = Sketch.of(bins, pa.array(values, pa.float32()))
    assert sketch.n == len(values)
    assert sketch.missing == sum(value is None or value != value for value in values)


@given(st.lists(floats), st.lists(floats))
def test_numbers_counted_together_fall_where_each_does_alone(
    baseline: list[float | None], values: list[float | None]
) -> None:
    bins = FrozenBins.numeric(pa.array(baseline, pa.float32()), bins=4)
    column = pa.array([*values, *baseline], pa.float32())
    alone = np.bincount(bins.indices(column), minlength=bins.size)
    assert bins.counts(column).tolist() == alone.tolist()


@given(st.lists(words), st.lists(words))
def test_each_word_is_counted_in_exactly_one_bin(
    baseline: list[str | None], values: list[str | None]
) -> None:
    bins = FrozenBins.categorical(pa.array(baseline, pa.string()), limit=2)
    sketch = Sketch.of(bins, pa.array(values, pa.string()))
    assert sketch.n == len(values)
    assert sketch.missing == sum(not value for value in values)
    for index, category in enumerate(bins.categories):
        assert sketch.counts[index] == values.count(category)


@given(st.lists(floats, min_size=1), st.randoms())
def test_parts_merged_in_any_order_equal_the_whole(
    values: list[float | None], order: object
) -> None:
    bins = FrozenBins.numeric(pa.array(values[: len(values) // 2 + 1], pa.float32()))
    parts = [Sketch.of(bins, pa.array(values[i::3], pa.float32())) for i in range(3)]
    order.shuffle(parts)  # type: ignore[attr-defined]
    assert parts[0].merge(parts[1]).merge(parts[2]) == Sketch.of(
        bins, pa.array(values, pa.float32())
    )


@given(st.lists(floats, min_size=1))
def test_a_sketch_survives_json_to_the_bit(values: list[float | None]) -> None:
    column = pa.array(values, pa.float32())
    sketch = Sketch.of(FrozenBins.numeric(column), column)
    assert Sketch.from_json(json.loads(json.dumps(sketch.to_json()))) == sketch


def test_quantile_bins_hold_about_the_same_share_of_the_baseline() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    bins = FrozenBins.numeric(values, bins=10)
    counts = bins.counts(values)
    inside = counts[1:-2]
    assert inside.sum() == values.size
    assert inside[:10].min() > 9_900
    assert inside[:10].max() < 10_100


def test_the_baseline_lies_inside_the_range_and_others_below_and_above() -> None:
    bins = FrozenBins.numeric(np.array([1.0, 2.0, 3.0]))
    assert bins.counts(np.array([1.0, 2.0, 3.0]))[0] == 0
    assert bins.counts(np.array([0.5, 3.5, np.inf, -np.inf, np.nan])).tolist() == [2, 0, 0, 0, 2, 1]


def test_few_distinct_numbers_get_one_bin_each() -> None:
    values = np.repeat([1.0, 2.0, 5.0], [3, 4, 5])
    assert FrozenBins.numeric(values).counts(values).tolist() == [0, 3, 4, 5, 0, 0]


def test_numpy_arrow_and_chunked_columns_count_alike() -> None:
    numbers = [1.0, 2.0, float("nan"), 4.0]
    bins = FrozenBins.numeric(np.array(numbers))
    chunked = pa.chunked_array([pa.array(numbers[:2]), pa.array(numbers[2:])])
    assert bins.counts(np.array(numbers)).tolist() == bins.counts(chunked).tolist()
    strings = ["a", "b", "", "a"]
    named = FrozenBins.categorical(strings)
    dictionary = pa.array(strings).dictionary_encode()
    assert named.counts(np.array(strings, dtype=object)).tolist() == [2, 1, 0, 1]
    assert named.counts(dictionary).tolist() == [2, 1, 0, 1]


def test_categories_beyond_the_limit_are_counted_as_other() -> None:
    bins = FrozenBins.categorical(["a", "a", "a", "b", "b", "c"], limit=2)
    assert bins.categories == ("a", "b")
    assert bins.labels == ("a", "b", "(other)", "(missing)")
    assert bins.counts(["c", "z", None]).tolist() == [0, 0, 2, 1]


def test_numeric_labels_name_every_bin() -> None:
    bins = FrozenBins.numeric(np.array([0.0, 1.0]))
    assert len(bins.labels) == bins.size


def test_sketches_over_different_bins_do_not_merge() -> None:
    with pytest.raises(BinMismatch):
        Sketch.empty(FrozenBins.categorical(["a"])).merge(
            Sketch.empty(FrozenBins.categorical(["b"]))
        )


def test_counts_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(BinMismatch):
        Sketch(FrozenBins.categorical(["a"]), np.zeros(9, dtype=np.int64))


@pytest.mark.parametrize(
    ("kind", "edges", "categories"),
    [
        (BinKind.NUMERIC, (1.0, 1.0), ()),
        (BinKind.NUMERIC, (1.0,), ("a",)),
        (BinKind.CATEGORICAL, (1.0,), ("a",)),
    ],
)
def test_contradictory_bins_are_refused(
    kind: BinKind, edges: tuple[float, ...], categories: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="edges"):
        FrozenBins(kind, edges, categories)


@given(st.lists(floats, min_size=1))
def test_coarse_groups_cover_each_bin_and_keep_the_outside_apart(
    values: list[float | None],
) -> None:
    column = pa.array(values, pa.float32())
    sketch = Sketch.of(FrozenBins.numeric(column), column)
    groups = sketch.coarse_groups()
    outside = [int(groups[i]) for i in (0, -2, -1)]
    assert sorted(set(groups.tolist())) == list(range(int(groups.max()) + 1))
    assert all((groups == group).sum() == 1 for group in outside)
    assert coarse_counts(groups, sketch.counts).sum() == sketch.n


def test_coarse_groups_hold_about_the_same_share() -> None:
    values = np.random.default_rng(0).normal(size=50_000)
    sketch = Sketch.of(FrozenBins.numeric(values), values)
    pooled = coarse_counts(sketch.coarse_groups(limit=10), sketch.counts)
    assert pooled.size == 13
    assert pooled[:10].min() > 4_500


def test_rare_categories_are_pooled() -> None:
    sketch = Sketch.of(FrozenBins.categorical(["a"]), [])
    assert sketch.coarse_groups().tolist() == [0, 1, 2]
    values = ["a"] * 60 + ["b"] * 38 + ["c", "d"]
    sketch = Sketch.of(FrozenBins.categorical(values), values)
    assert coarse_counts(sketch.coarse_groups(), sketch.counts).tolist() == [2, 60, 38, 0, 0]


def test_block_counts_add_up_to_the_whole_day_by_day() -> None:
    day_us = 86_400_000_000
    values = np.array([1.0, 2.0, 1.0, 2.0, 2.0])
    times = np.array([3, 0, 2 * day_us, 1, 2 * day_us + 5])
    sketch = Sketch.of(FrozenBins.numeric(values), values)
    blocks = block_counts(sketch, values, times)
    assert blocks.sum(axis=1).tolist() == [3, 2]
    assert (
        blocks.sum(axis=0).tolist() == coarse_counts(sketch.coarse_groups(), sketch.counts).tolist()
    )
