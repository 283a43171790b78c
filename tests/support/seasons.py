"""Columns that wander and have seasons, as real ones do, without any drift."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt

from services.common.profiles import ColumnProfile, feature_profiles
from services.common.sketches import Counts

DAY_US = 86_400_000_000
WEEK = timedelta(days=7)
ROWS_PER_DAY = 300


class Season:
    """Columns whose daily level is autocorrelated, with a weekly pattern.

    Args:
        seed: Of everything.
        columns: How many.
        memory: Correlation of a day's level with the day before.
        step: Standard deviation of a day's surprise, in deviations of the rows of one day.
    """

    def __init__(self, seed: int, columns: int = 20, memory: float = 0.8, step: float = 0.15):
        self._random = np.random.default_rng(seed)
        self._memory, self._step = memory, step
        spread = step / np.sqrt(1 - memory**2)
        self._level = self._random.normal(size=columns) * spread
        self._day = 0

    def days(self, count: int, shift: float = 0.0) -> npt.NDArray[np.float64]:
        """float64 [days * rows, columns]: the next days; `shift` moves the first column."""
        drawn = []
        for _ in range(count):
            surprise = self._random.normal(size=self._level.size) * self._step
            self._level = self._memory * self._level + surprise
            weekly = 0.3 * np.sin(2 * np.pi * self._day / 7)
            rows = self._random.normal(size=(ROWS_PER_DAY, self._level.size))
            rows += self._level + weekly
            rows[:, 0] += shift
            drawn.append(rows)
            self._day += 1
        return np.concatenate(drawn)


def profile_of(rows: npt.NDArray[np.float64]) -> dict[str, ColumnProfile]:
    """The baseline of whole days of rows."""
    times = np.arange(len(rows)) // ROWS_PER_DAY * DAY_US
    columns = {f"c{index}": rows[:, index] for index in range(rows.shape[1])}
    return feature_profiles(columns, categorical=(), time_us=times)


def counts_of(
    profile: dict[str, ColumnProfile], rows: npt.NDArray[np.float64]
) -> dict[str, Counts]:
    """A window's counts over the baseline's bins."""
    return {
        name: column.sketch.bins.counts(rows[:, index])
        for index, (name, column) in enumerate(profile.items())
    }
