"""How long columns remember, told by their days and by their weeks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.core.memory import (
    Cut,
    Likeness,
    Memory,
    correlations,
    pooled_memory,
)

WEEKS = Cut(7, 7)
DAYS = 56


def daily(random: np.random.Generator, columns: int, days: int, memory: float) -> np.ndarray:
    """float64 [columns, days]: levels of variance 1 that remember the day before."""
    levels = np.empty((columns, days))
    levels[:, 0] = random.normal(size=columns)
    for day in range(1, days):
        surprise = random.normal(size=columns) * np.sqrt(1 - memory**2)
        levels[:, day] = memory * levels[:, day - 1] + surprise
    return levels


def memories(levels: np.ndarray, season: float = 0.05, days: range | None = None) -> list[Memory]:
    """What each column says whose level is that of a share; its days of the week differ."""
    dates = np.arange(levels.shape[1]) if days is None else np.array(days)
    shares = 0.5 + 0.02 * levels + season * np.sin(2 * np.pi * dates / 7)
    blocks = (np.stack([shares, 1 - shares], axis=2) * 100_000).astype(np.int64)
    weeks = blocks.reshape(len(blocks), -1, 7, 2).sum(axis=2)
    dated = tuple(dates.tolist())
    return [Memory.of(block, dated, week, WEEKS) for block, week in zip(blocks, weeks, strict=True)]


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8, 0.95])
def test_the_memory_of_many_columns_is_seen_whatever_the_day_of_the_week(memory: float) -> None:
    levels = daily(np.random.default_rng(5), 60, DAYS, memory)
    found = pooled_memory(memories(levels))
    assert memory - 0.03 <= found <= memory + 0.08
    assert found == pytest.approx(pooled_memory(memories(levels, season=0.0)), abs=0.015)


def test_days_with_a_mood_of_their_own_do_not_hide_that_weeks_are_alike() -> None:
    random = np.random.default_rng(6)
    levels = daily(random, 200, DAYS, 0.9) + random.normal(size=(200, DAYS))
    found = memories(levels)
    assert pooled_memory(found) > 0.7
    days_alone = [replace(each, by_stretch=Likeness()) for each in found]
    assert pooled_memory(days_alone) < 0.6


def test_columns_of_few_days_do_not_speak_for_the_others() -> None:
    random = np.random.default_rng(5)
    many = memories(daily(random, 60, DAYS, 0.5))
    few = memories(daily(random, 1, 21, 0.95), days=range(60, 81))
    assert pooled_memory([*many, *few]) == pooled_memory(many)
    assert pooled_memory(few) > 0


def test_columns_that_stand_still_and_those_of_too_few_stretches_say_nothing() -> None:
    still = np.full((DAYS, 4), 5_000)
    weeks = still.reshape(8, 7, 4).sum(axis=1)
    dates = tuple(range(DAYS))
    assert pooled_memory([Memory.of(still, dates, weeks, WEEKS)]) == 0
    assert pooled_memory([]) == 0
    assert Memory.of(still[:14], dates[:14], weeks[:2], WEEKS) == Memory()


def test_rows_by_chance_alone_are_no_memory() -> None:
    blocks = np.random.default_rng(7).multinomial(300, [0.05] * 20, (40, DAYS))

    weekdays, near = np.arange(DAYS) % 7, np.ones(DAYS - 1, np.bool_)
    found = [Likeness.of(block, weekdays, near) for block in blocks]
    doubt = np.sqrt(sum(each.doubt for each in found))
    assert abs(sum(each.alone for each in found)) < 3 * doubt
    assert abs(sum(each.together for each in found)) < 3 * doubt
    dates = tuple(range(DAYS))
    weeks = blocks.reshape(len(blocks), 8, 7, -1).sum(axis=2)
    columns = zip(blocks, weeks, strict=True)
    assert pooled_memory([Memory.of(block, dates, week, WEEKS) for block, week in columns]) == 0


def test_a_day_without_rows_says_nothing() -> None:
    random = np.random.default_rng(8)
    (memory,) = memories(daily(random, 1, DAYS, 0.5))
    shares = np.array([[600, 400], [500, 500], [0, 0], [550, 450], [520, 480], [400, 600]])
    near = np.ones(5, np.bool_)
    known = Likeness.of(shares, np.zeros(6, np.intp), near)
    without = Likeness.of(np.delete(shares, 2, axis=0), np.zeros(5, np.intp), near[:4])
    assert known.alone == pytest.approx(without.alone)
    assert memory.by_day.neighbours == DAYS - 1


def test_only_days_that_follow_one_another_are_neighbours() -> None:
    dates = tuple(day for day in range(84) if day % 7 < 5)
    blocks = np.random.default_rng(9).multinomial(1_000, [0.5, 0.5], len(dates))
    weeks = blocks.reshape(12, 5, 2).sum(axis=1)
    assert Memory.of(blocks, dates, weeks, WEEKS).by_day.neighbours == 12 * 4


@given(
    stretches=st.integers(1, 6),
    days=st.integers(1, 9),
    gap=st.integers(0, 6),
    memory=st.floats(0, 0.99),
)
def test_stretches_are_as_alike_as_the_means_of_their_days(
    stretches: int, days: int, gap: int, memory: float
) -> None:
    cut = Cut(days, days + gap)
    dates = (np.arange(stretches)[:, None] * cut.spacing + np.arange(days)).ravel()
    covariance = memory ** np.abs(np.subtract.outer(dates, dates)).astype(float)
    means = covariance.reshape(stretches, days, stretches, days).mean(axis=(1, 3))
    assert np.allclose(correlations(stretches, cut, memory), means / means[0, 0])
