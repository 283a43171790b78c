"""How far a column goes by itself, and what lasting differences are worth against that."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from services.monitor.core.moderation import PRIOR_GRID, Prior
from services.monitor.core.wander import (
    Memory,
    Span,
    bounded,
    lasting_null,
    pooled_memory,
    stretches_of,
    unbounded,
)


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
    null = lasting_null(n, 0.0, 0, 1, 1)
    for p_value in (0.2, 0.05, 0.01):
        exact = float(stats.t.isf(p_value / 2, n - 1)) * np.sqrt((1 + 1 / n) * (n - 1) / n)
        assert null.excess_at(p_value) == pytest.approx(exact, rel=0.04)


def test_beyond_the_draws_the_tail_promises_no_less_than_students() -> None:
    n, p_value = 8, 1e-4
    exact = float(stats.t.isf(p_value / 2, n - 1)) * np.sqrt((1 + 1 / n) * (n - 1) / n)
    assert lasting_null(n, 0.0, 0, 1, 1).excess_at(p_value) > 0.95 * exact
    assert lasting_null(n, 0.0, 0, 1, 1).p_value(exact) == pytest.approx(p_value, rel=0.5)


def test_what_lasts_needs_less_what_is_remembered_more_and_what_others_say_helps() -> None:
    once = lasting_null(8, 0.0, 0, 1, 1).excess_at(0.001)
    lasting = lasting_null(8, 0.0, 0, 3, 4).excess_at(0.001)
    remembered = lasting_null(8, 0.6, 0, 3, 4).excess_at(0.001)
    helped = lasting_null(8, 0.6, 16, 3, 4).excess_at(0.001)
    assert lasting < once
    assert lasting < helped < remembered


def series(random: np.random.Generator, memory: float, n: int = 8) -> np.ndarray:
    level, levels = 0.0, []
    for _ in range(50 + n):
        level = memory * level + random.normal() * 0.1 * np.sqrt(1 - memory**2)
        levels.append(level)
    share = 0.5 + np.array(levels[-n:])
    return np.stack([share, 1 - share], axis=1) * 100_000


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_the_memory_of_many_columns_is_seen_and_rounded_up(memory: float) -> None:
    random = np.random.default_rng(5)
    found = pooled_memory(
        [Memory.of(series(random, memory, 12).astype(np.int64)) for _ in range(60)]
    )
    assert memory <= found <= memory + 0.25


def test_a_column_of_few_stretches_does_not_speak_for_the_others() -> None:
    random = np.random.default_rng(5)
    many = [Memory.of(series(random, 0.5, 12).astype(np.int64)) for _ in range(60)]
    few = Memory.of(series(random, 0.5, 3).astype(np.int64))
    assert pooled_memory([*many, few]) == pooled_memory(many)


def test_columns_that_stand_still_have_no_memory() -> None:
    random = np.random.default_rng(6)
    still = random.multinomial(5_000, [0.25] * 4, 8)
    assert pooled_memory([Memory.of(still)]) <= 0.9
    assert pooled_memory([]) == 0.0
    assert Memory.of(still[:2]).neighbours == 0


def test_columns_that_are_alike_say_much_of_one_another_and_others_nothing() -> None:
    random = np.random.default_rng(7)
    alike = 0.01 * random.chisquare(7, 200) / 7
    prior = Prior.of(alike, 8)
    assert prior.freedom == PRIOR_GRID[-1]
    assert prior.variance == pytest.approx(0.01, rel=0.15)
    assert prior.moderated(0.1, 8) < 0.1
    unlike = alike * 10.0 ** random.normal(size=200)
    assert Prior.of(unlike, 8).freedom == 0
    assert Prior.of(alike[:4], 8) == Prior()
    assert Prior().moderated(0.1, 8) == 0.1
