"""Histograms: how far apart two are, whatever the number of rows; and many tests at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.spatial.distance import jensenshannon

from services.monitor.core.alarms import benjamini_hochberg
from services.monitor.core.histograms import (
    g_test,
    jensen_shannon_distance,
    jensen_shannon_distances,
    sampling_spread,
)
from services.monitor.core.resources import DriftTest

counts = hnp.arrays(np.int64, 8, elements=st.integers(0, 1000))
p_values = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@given(p_values, st.floats(0.001, 0.5))
def test_benjamini_hochberg_finds_what_the_step_up_procedure_finds(
    values: np.ndarray, rate: float
) -> None:
    ordered = np.sort(values)
    passing = np.nonzero(ordered <= rate * np.arange(1, values.size + 1) / values.size)[0]
    limit = ordered[passing[-1]] if passing.size else -1.0
    expected = values <= limit
    q_values = benjamini_hochberg(values)
    certain = np.abs(q_values - rate) > 1e-12
    assert ((q_values <= rate) == expected)[certain].all()


@given(p_values)
def test_q_values_are_probabilities_not_below_their_p_values_and_in_their_order(
    values: np.ndarray,
) -> None:
    q_values = benjamini_hochberg(values)
    assert (q_values >= values * (1 - 1e-12)).all()
    assert (q_values <= 1).all()
    order = np.argsort(values)
    assert (np.diff(q_values[order]) >= -1e-15).all()


@given(counts, counts)
def test_the_g_test_agrees_with_scipy(first: np.ndarray, second: np.ndarray) -> None:
    table = np.stack([first, second])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        assert g_test(first, second) == (0.0, 1.0)
        return
    expected = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False)
    statistic, p_value = g_test(first, second)
    assert statistic == pytest.approx(expected.statistic, abs=1e-6)
    assert p_value == pytest.approx(expected.pvalue, abs=1e-6)


@given(counts, counts)
def test_the_distance_is_symmetric_and_at_most_that_of_jensen_and_shannon(
    first: np.ndarray, second: np.ndarray
) -> None:
    distance = jensen_shannon_distance(first, second)
    assert distance == jensen_shannon_distance(second, first)
    assert 0 <= distance <= 1
    if first.sum() and second.sum():
        assert distance <= jensenshannon(first, second, 2) + 1e-6


def test_the_distance_does_not_depend_on_the_number_of_rows() -> None:
    generator = np.random.default_rng(2)
    baseline, moved = np.full(20, 0.05), np.linspace(0.02, 0.08, 20)
    found = [
        jensen_shannon_distance(generator.multinomial(n, baseline), generator.multinomial(n, moved))
        for n in (1_000, 10_000, 1_000_000)
    ]
    assert found == pytest.approx([found[-1]] * 3, abs=0.03)


def test_two_samples_of_one_distribution_have_about_no_distance() -> None:
    generator = np.random.default_rng(3)
    shares = np.full(20, 0.05)
    distances = [
        jensen_shannon_distance(generator.multinomial(500, shares), np.full(20, 10_000))
        for _ in range(200)
    ]
    assert np.mean(distances) < 0.05
    assert max(distances) < DriftTest().effect_floor


def test_histograms_with_nothing_in_common_are_at_distance_one() -> None:
    first, second = np.array([10**7, 0]), np.array([0, 10**7])
    assert jensen_shannon_distance(first, second) == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=5))
def test_many_distances_are_those_of_each_pair(pairs: list) -> None:
    first, second = (np.stack(side) for side in zip(*pairs, strict=True))
    assert jensen_shannon_distances(first, second).tolist() == [
        jensen_shannon_distance(*pair) for pair in pairs
    ]


def test_the_sampling_spread_is_that_of_the_squared_distances_of_equal_worlds() -> None:
    generator = np.random.default_rng(4)
    shares = np.full(20, 0.05)
    first = generator.multinomial(2_000, shares, 400)
    second = generator.multinomial(20_000, shares, 400)
    p, q = first / 2_000, second / 20_000
    squared = [jensenshannon(a, b, 2) ** 2 for a, b in zip(p, q, strict=True)]
    assert sampling_spread(first[0], second[0]) == pytest.approx(np.std(squared), rel=0.15)
