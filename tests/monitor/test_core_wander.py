"""How far a column goes by itself, and what lasting differences are worth against that."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from services.monitor.core.moderation import PRIOR_GRID, Prior
from services.monitor.core.wander import (
    Span,
    Wander,
    bounded,
    lasting_null,
    stretches_of,
    unbounded,
)
from tests.monitor.test_core_memory import WEEKS, daily


def blocks(days: int) -> np.ndarray:
    return np.arange(days)[:, None] + np.array([[0, 100]])


def test_a_baseline_is_cut_into_stretches_as_long_as_the_window() -> None:
    cut = stretches_of(blocks(15), np.arange(15), Span(40, 7))
    assert cut.tolist() == [[21, 721], [70, 770]]


def test_a_short_window_meets_the_same_days_of_each_week() -> None:
    days = np.arange(4, 25)
    weekend = stretches_of(blocks(21), days, Span(7 * 100 + 5, 2))
    assert weekend[:, 0].tolist() == [1 + 2, 8 + 9, 15 + 16]


def test_a_week_that_lacks_a_day_is_no_stretch() -> None:
    days = np.array([0, 1, 7, 14, 15])
    assert len(stretches_of(blocks(5), days, Span(0, 2))) == 2


def test_blocks_of_unknown_days_are_taken_as_they_come() -> None:
    assert len(stretches_of(blocks(9), None, Span(3, 2))) == 4


def test_a_distance_is_stretched_and_back() -> None:
    for effect in (0.0, 0.1, 0.5, 0.99):
        assert bounded(unbounded(effect)) == pytest.approx(effect)


def test_one_window_without_memory_is_held_against_students_distribution() -> None:
    n = 8
    null = lasting_null(Wander(n, WEEKS, 0.0), 1, 1)
    for p_value in (0.2, 0.05, 0.01):
        exact = float(stats.t.isf(p_value / 2, n - 1)) * np.sqrt((1 + 1 / n) * (n - 1) / n)
        assert null.excess_at(p_value) == pytest.approx(exact, rel=0.04)


def test_beyond_the_draws_the_tail_promises_no_less_than_students() -> None:
    n, p_value = 8, 1e-4
    exact = float(stats.t.isf(p_value / 2, n - 1)) * np.sqrt((1 + 1 / n) * (n - 1) / n)
    assert lasting_null(Wander(n, WEEKS, 0.0), 1, 1).excess_at(p_value) > 0.95 * exact
    assert lasting_null(Wander(n, WEEKS, 0.0), 1, 1).p_value(exact) == pytest.approx(
        p_value, rel=0.5
    )


def test_what_lasts_needs_less_what_is_remembered_more_and_what_others_say_helps() -> None:
    once = lasting_null(Wander(8, WEEKS, 0.0), 1, 1).excess_at(0.001)
    lasting = lasting_null(Wander(8, WEEKS, 0.0), 3, 4).excess_at(0.001)
    remembered = lasting_null(Wander(8, WEEKS, 0.9), 3, 4).excess_at(0.001)
    helped = lasting_null(Wander(8, WEEKS, 0.9, 16), 3, 4).excess_at(0.001)
    assert lasting < once
    assert lasting < helped < remembered


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("alike", [True, False])
def test_without_drift_a_chance_is_what_it_says(memory: float, alike: bool) -> None:
    """Columns of their own or of one kind, days of one memory, four weeks far from training."""
    random = np.random.default_rng(11)
    columns, n = 20_000, 8
    freedom = 8 if alike else 0
    known = Wander(n, WEEKS, memory, freedom)
    own, ahead = (daily(random, columns, 7 * weeks, memory) for weeks in (n, 4))
    own, ahead = (days.reshape(columns, -1, 7).mean(axis=2) for days in (own, ahead))
    if alike:
        scales = np.sqrt(freedom / random.chisquare(freedom, (columns, 1)))
        own, ahead = own * scales, ahead * scales
    mean = own.mean(axis=1, keepdims=True)
    squares = np.mean(((own - mean) * n / (n - 1)) ** 2, axis=1)
    prior = Prior.of(squares, known.freedom)
    if alike:
        assert prior.freedom in (4, 8)
        prior = Prior(freedom, prior.variance)
        squares = np.array([prior.moderated(square, known.freedom) for square in squares])
    excesses = np.sort(np.abs(ahead - mean) / np.sqrt(squares)[:, None], axis=1)[:, 1]
    null = lasting_null(known, 3, 4)
    for p_value in (0.05, 0.005):
        share = np.mean(excesses >= null.excess_at(p_value))
        assert share == pytest.approx(p_value, rel=0.35)


def test_what_remembers_has_fewer_degrees_of_freedom() -> None:
    freedoms = [Wander(8, WEEKS, memory).freedom for memory in (0.0, 0.8, 0.95)]
    assert freedoms[0] == pytest.approx(7, rel=0.02)
    assert freedoms == sorted(freedoms, reverse=True)
    assert Wander(60, WEEKS, 0.8).freedom == Wander(30, WEEKS, 0.8).freedom


def test_columns_that_are_alike_say_much_of_one_another_and_others_nothing() -> None:
    random = np.random.default_rng(7)
    alike = 0.01 * random.chisquare(7, 200) / 7
    prior = Prior.of(alike, 7)
    assert prior.freedom == PRIOR_GRID[-1]
    assert prior.variance == pytest.approx(0.01, rel=0.15)
    assert prior.moderated(0.1, 7) < 0.1
    unlike = alike * 10.0 ** random.normal(size=200)
    assert Prior.of(unlike, 7).freedom == 0
    assert Prior.of(alike[:4], 7) == Prior()
    assert Prior().moderated(0.1, 7) == 0.1
