"""Drift: what each condition promises, and how rarely all of them are wrong together."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.spatial.distance import jensenshannon

from services.common.profiles import feature_profiles
from services.monitor.core.drift import (
    benjamini_hochberg,
    drift_points,
    g_test,
    jensen_shannon_distance,
    own_spread,
)
from services.monitor.core.resources import DriftTest
from tests.support.seasons import WEEK, Season, counts_of, profile_of

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


def test_a_column_that_wanders_has_a_wider_spread_of_its_own() -> None:
    still, wandering = Season(1, columns=1, step=0.0), Season(1, columns=1, step=0.3)
    spreads = [
        own_spread(profile_of(season.days(56))["c0"].blocks, WEEK) for season in (still, wandering)
    ]
    assert spreads[0] < 0.1 < spreads[1] < 1


def test_too_short_a_baseline_has_no_spread_of_its_own() -> None:
    blocks = profile_of(Season(1, columns=1).days(20))["c0"].blocks
    assert own_spread(blocks, WEEK) == 0.0
    assert own_spread(blocks, timedelta(days=6)) > 0.0


def test_a_column_with_nothing_in_common_exceeds_any_spread() -> None:
    blocks = np.zeros((10, 4), np.int64)
    blocks[np.arange(10), np.arange(10) % 2] = 1000
    assert own_spread(blocks, timedelta(days=1)) < 1.0


def points_after(shift: float, windows: int, test: DriftTest) -> list[list[bool]]:
    """By window: significant and drifted of the shifted column."""
    season = Season(7)
    profile = profile_of(season.days(56))
    earlier: list[frozenset[str]] = []
    seen = []
    for _ in range(windows):
        found = drift_points(
            profile, counts_of(profile, season.days(7, shift)), earlier, length=WEEK, test=test
        )
        earlier.insert(0, frozenset(point.feature for point in found if point.significant))
        seen.append([found[0].significant, found[0].drifted])
    return seen


def test_a_shift_counts_once_it_has_lasted() -> None:
    assert points_after(1.0, 4, DriftTest()) == [
        [True, False],
        [True, False],
        [True, True],
        [True, True],
    ]


def test_a_window_with_too_few_rows_shows_nothing() -> None:
    assert points_after(1.0, 1, DriftTest(min_rows=10**6)) == [[False, False]]


def test_past_findings_do_not_outlive_the_present_one() -> None:
    season = Season(7)
    profile = profile_of(season.days(56))
    found = drift_points(
        profile,
        counts_of(profile, season.days(7)),
        [frozenset(profile)] * 3,
        length=WEEK,
        test=DriftTest(),
    )
    assert not any(point.drifted for point in found if not point.significant)


def test_a_point_carries_both_histograms_and_what_it_was_held_against() -> None:
    profile = feature_profiles(
        {"origin": ["EWR"] * 60 + ["JFK"] * 40}, categorical={"origin"}, time_us=None
    )
    window = profile["origin"].sketch.bins.counts(["JFK"] * 90 + [""] * 10)
    (point,) = drift_points(
        profile, {"origin": window}, [], length=WEEK, test=DriftTest(min_rows=100)
    )
    assert [(b.label, b.baseline_count, b.window_count) for b in point.bins] == [
        ("EWR", 60, 0),
        ("JFK", 40, 90),
        ("(other)", 0, 0),
        ("(missing)", 0, 10),
    ]
    assert (point.baseline_rows, point.window_rows) == (100, 100)
    assert point.threshold == 0.1
    assert point.algorithm == "g_test"
    assert point.significant


def test_false_alarms_stay_rare_over_seasons_without_drift() -> None:
    """The usual rules fire in every one of these weeks; see docs/monitoring.md."""
    weeks = by_p_value = by_floor = drifted = 0
    for seed in range(6):
        season = Season(seed)
        profile = profile_of(season.days(56))
        earlier: list[frozenset[str]] = []
        for _ in range(10):
            found = drift_points(
                profile, counts_of(profile, season.days(7)), earlier, length=WEEK, test=DriftTest()
            )
            earlier.insert(0, frozenset(p.feature for p in found if p.significant))
            weeks += 1
            by_p_value += any(p.p_value < 0.05 for p in found)
            by_floor += any(p.q_value < 0.05 and p.effect_size >= 0.1 for p in found)
            drifted += any(p.drifted for p in found)
    assert by_p_value == weeks
    assert by_floor == weeks
    assert drifted <= 0.15 * weeks
