"""Splits: by time, by chance, stratified and by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.failures import DataFault
from services.trainer.core.partition import parted, parted_after
from services.trainer.core.splits import (
    SplitMethod,
    SplitShares,
    rows_digest,
    split_by_chance,
    split_by_group,
    split_by_time,
    split_stratified,
)
from services.trainer.core.tables import Table
from tests.support.trainer_values import spec, table

TIMES = st.lists(st.integers(0, 50), min_size=20, max_size=300).map(np.array)


@given(TIMES)
def test_parts_hold_every_row_once_in_the_order_of_time(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares())
    assert sorted(split.all) == list(range(len(times)))
    assert np.all(np.diff(times[split.all]) >= 0)


@given(TIMES)
def test_rows_of_one_time_keep_their_order(times: np.ndarray) -> None:
    order = split_by_time(times, SplitShares()).all
    same_time = np.diff(times[order]) == 0
    assert np.all(np.diff(order)[same_time] > 0)


@given(TIMES)
def test_sizes_are_exact_shares_of_the_rows(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares(0.5, 0.25, 0.25))
    rows = len(times)
    assert len(split.train) == round(rows * 0.5)
    assert len(split.train) + len(split.validation) == round(rows * 0.75)


@given(TIMES)
def test_no_later_row_teaches_an_earlier_one(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares())
    assert times[split.train].max() <= times[split.validation].min()
    assert times[split.fit].max() <= times[split.test].min()


def test_digest_tells_two_splits_apart_and_repeats_for_one() -> None:
    times = np.arange(100)
    one, other = (
        split_by_time(times, SplitShares()),
        split_by_time(times, SplitShares(0.6, 0.2, 0.2)),
    )
    assert one.digest == split_by_time(times, SplitShares()).digest != other.digest
    assert rows_digest(one.test) != rows_digest(other.test)


def test_rows_that_leave_a_part_empty_are_a_data_fault() -> None:
    with pytest.raises(DataFault):
        split_by_time(np.arange(2), SplitShares())


@pytest.fixture(scope="module")
def rows() -> Table:
    """600 rows in no order of time, 30 of them with label 1, in 40 groups."""
    random = np.random.default_rng(1)
    return Table(
        numeric={},
        categorical={},
        label=(random.permutation(600) < 30).astype(np.int64),
        event_time_us=random.integers(0, 100, 600),
        slices={},
        groups=random.choice([f"plane-{number}" for number in range(40)], 600).astype(object),
    )


@pytest.mark.parametrize("method", SplitMethod)
def test_every_split_holds_every_row_once_in_order_of_time_and_repeats(
    rows: Table, method: SplitMethod
) -> None:
    job = spec(split_method=method)
    split = parted(job, rows)
    assert sorted(split.all) == list(range(len(rows)))
    for part in (split.train, split.validation, split.test):
        assert np.all(np.diff(rows.event_time_us[part]) >= 0)
    assert split.digest == parted(job, rows).digest


@pytest.mark.parametrize("method", [SplitMethod.RANDOM, SplitMethod.STRATIFIED])
def test_chance_gives_exact_sizes_and_follows_the_seed(rows: Table, method: SplitMethod) -> None:
    one, other = (parted(spec(split_method=method, seed=seed), rows) for seed in (1, 2))
    assert (len(one.train), len(one.validation), len(one.test)) == (420, 90, 90)
    assert one.digest != other.digest
    assert not np.array_equal(one.train, parted(spec(), rows).train)


@given(
    st.integers(3, 60), st.integers(3, 60), st.integers(0, 9), st.tuples(*[st.integers(1, 5)] * 3)
)
def test_stratified_parts_have_exact_sizes_and_each_label_in_proportion(
    zeros: int, ones: int, seed: int, weights: tuple[int, int, int]
) -> None:
    label = np.repeat([0, 1], [zeros, ones])
    shares = SplitShares(*(weight / sum(weights) for weight in weights))
    try:
        split = split_stratified(label, shares, seed)
    except DataFault:
        assert min(zeros, ones) * min(shares.train, shares.validation, shares.test) < 2
        return
    parts = (split.train, split.validation, split.test)
    assert tuple(map(len, parts)) == shares.sizes(len(label))
    for part in parts:
        assert abs(label[part].sum() - ones * len(part) / len(label)) < 1
        assert 0 < label[part].sum() < len(part)


def test_a_label_with_too_few_rows_for_each_part_is_named() -> None:
    label = np.repeat([0, 1], [100, 2])
    with pytest.raises(DataFault, match=r"split\.method .* 2 rows with label 1 .* part none"):
        split_stratified(label, SplitShares(), 0)


@given(st.lists(st.integers(0, 12), min_size=20, max_size=200), st.integers(0, 9))
def test_no_group_is_in_two_parts_and_no_part_is_empty(numbers: list[int], seed: int) -> None:
    groups = np.array([f"g{number}" for number in numbers], dtype=object)
    try:
        split = split_by_group(groups, SplitShares(), seed)
    except DataFault:
        _, counts = np.unique(groups.astype(str), return_counts=True)
        assert len(counts) < 3 or counts.max() > round(0.7 * len(groups))
        return
    parts = [set(groups[part]) for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set(groups))
    assert sorted(split.all) == list(range(len(groups)))


def test_sizes_of_a_grouped_split_are_as_near_as_groups_allow(rows: Table) -> None:
    assert rows.groups is not None
    largest = max(np.unique(rows.groups.astype(str), return_counts=True)[1])
    split = split_by_group(rows.groups, SplitShares(), 3)
    for part, wanted in ((split.train, 420), (split.validation, 90), (split.test, 90)):
        assert abs(len(part) - wanted) < largest


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (["UA"] * 30, "the one value 'UA'"),
        (["UA", "AA"] * 15, "has 2 values"),
        (["UA"] * 27 + ["AA", "B6", "DL"], "27 rows of 'UA' fit into no part"),
    ],
)
def test_groups_that_cannot_be_parted_are_named(groups: list[str], text: str) -> None:
    with pytest.raises(DataFault, match=rf"split\.group_column.*{text}"):
        split_by_group(np.array(groups, dtype=object), SplitShares(), 0)


def test_two_draws_of_the_same_rows_differ_by_seed_alone() -> None:
    one, same, other = (split_by_chance(100, SplitShares(), seed) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest


def test_rows_that_have_been_learned_from_are_in_no_part() -> None:
    rows = table(400, seed=2)
    times = np.sort(rows.event_time_us)
    for method in (SplitMethod.TIME, SplitMethod.RANDOM):
        job = spec(split_method=method)
        found = parted_after(job, rows, int(times[299]))
        assert (
            sorted(found.all.tolist()) == np.flatnonzero(rows.event_time_us > times[299]).tolist()
        )
        assert abs(len(found.train) - 0.7 * len(found.all)) <= 1
        for part in (found.train, found.validation, found.test):
            assert np.all(np.diff(rows.event_time_us[part]) >= 0)
    assert parted_after(spec(), rows, None).digest == parted(spec(), rows).digest


def test_a_snapshot_without_newer_rows_is_told() -> None:
    rows = table(400, seed=2)
    with pytest.raises(DataFault, match=r"none of the 400 rows .* later than 2013-"):
        parted_after(spec(), rows, int(rows.event_time_us.max()))
