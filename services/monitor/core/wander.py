"""How far a column goes by itself: what a lasting difference is worth against that.

Rows of one week share their weather and their mood, so they are no independent draws, and a
test that takes them for such fires all the time. So an effect is held against the effects
that stretches of the baseline, as long as the window and of the same days of the week, have
from the rest of the baseline: a block null. There are only a few stretches, and each
remembers the one before; what their small number and that memory are worth is simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import polygamma

from services.common.sketches import Counts
from services.monitor.core.memory import DAYS_OF_WEEK, Cut, correlations

_MOST_STRETCHES: Final = 30
_KEPT: Final = 128
"""Nulls that are kept, of .8 MB each."""

_JITTER: Final = 1e-9
_DRAWS: Final = 100_000
_SEED: Final = 20130301
_TAIL: Final = 200
"""Largest draws from which on the tail is a power law: it is one of Student's kind."""

_Draws: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """The days that a window's rows are from.

    Attributes:
        first_day: Since the epoch.
        days: How many, at least 1; a part of a day counts as a day.
    """

    first_day: int
    days: int

    @property
    def season(self) -> tuple[int, int]:
        """What stretches of a baseline depend on: the days, and where in the week they begin."""
        return self.days, self.first_day % DAYS_OF_WEEK if self.days < DAYS_OF_WEEK else 0

    def cut(self, block_days: Counts | None) -> Cut:
        """How `stretches_of` a baseline with blocks of these days lie."""
        by_week = self.days < DAYS_OF_WEEK and block_days is not None
        return Cut(self.days, DAYS_OF_WEEK if by_week else self.days)


def stretches_of(blocks: Counts, block_days: Counts | None, span: Span) -> Counts:
    """int64 [stretches, groups]: the baseline cut into stretches like a window's.

    A window of whole weeks is compared with stretches of as many days. A shorter one is
    compared with the same days of each week, if it is known which days the blocks are of.

    Args:
        blocks: int64 [days, groups], the baseline by day.
        block_days: int64 [days], day since the epoch of each block, ascending.
        span: Of the window.
    """
    matches_season = span.days < DAYS_OF_WEEK and block_days is not None
    if not matches_season or block_days is None or block_days.size != blocks.shape[0]:
        whole = blocks.shape[0] // span.days
        cut = blocks[: whole * span.days].reshape(whole, span.days, blocks.shape[1])
        stretches: Counts = cut.sum(axis=1)
        return stretches
    since = block_days - span.first_day
    week, offset = since // DAYS_OF_WEEK, since % DAYS_OF_WEEK
    matched = offset < span.days
    weeks, which = np.unique(week[matched], return_inverse=True)
    complete = np.bincount(which, minlength=weeks.size) == span.days
    summed = np.zeros((weeks.size, blocks.shape[1]), np.int64)
    np.add.at(summed, which, blocks[matched])
    return np.asarray(summed[complete])


def unbounded(effect: float) -> float:
    """A distance in 0 to 1 stretched to 0 to infinity, a small one unchanged.

    A distance can't exceed 1, so one that wanders by .5 could never be far from itself.
    """
    kept = min(effect, 1 - 1e-9)
    return kept / math.sqrt(1 - kept * kept)


def mean_squares(effects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64 [subjects]: mean square of the `unbounded` effects of each.

    Args:
        effects: float64 [subjects, stretches].
    """
    squares = np.minimum(effects, 1 - 1e-9) ** 2
    means: npt.NDArray[np.float64] = np.mean(squares / (1 - squares), axis=1)
    return means


def bounded(effect: float) -> float:
    """The inverse of `unbounded`."""
    return float(effect / np.sqrt(1 + effect**2))


@dataclass(frozen=True, slots=True)
class Wander:
    """What is known of how a subject goes by itself.

    Attributes:
        stretches: Of the baseline; above 30 they count as 30.
        cut: How they lie; windows follow one another.
        memory: Correlation of a day with the day before (`memory`).
        prior: Degrees of freedom of what other columns say of the own mean square.
    """

    stretches: int
    cut: Cut
    memory: float
    prior: int = 0

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the mean square of the baseline's own effects.

        Fewer than their number where they remember: those of the chi-square whose logarithm
        varies as much.
        """
        return _freedom(min(self.stretches, _MOST_STRETCHES), self.cut, self.memory)


@dataclass(frozen=True, slots=True)
class LastingNull:
    """What the `hits`-th largest of the last windows' effects is without drift.

    Effects are in units of the root mean square of the baseline's own. The baseline's
    stretches and the windows are means over days of one series with a memory (`memory`), far
    from each other in time; the root mean square is of those few stretches, so the tail is
    as heavy as Student's, less heavy the more other columns say (`moderation`).

    Attributes:
        draws: float64 [draws], ascending.
        tail_index: Hill's estimate (1975) over the largest draws.
    """

    draws: npt.NDArray[np.float64]
    tail_index: float

    @classmethod
    def of(cls, draws: npt.NDArray[np.float64]) -> Self:
        """Of draws in any order."""
        ascending = np.sort(draws)
        largest = ascending[-_TAIL:]
        return cls(ascending, float(1 / np.mean(np.log(largest / largest[0]))))

    def p_value(self, excess: float) -> float:
        """Chance of at least `excess`."""
        n = self.draws.size
        above = n - int(np.searchsorted(self.draws, excess, side="left"))
        if above >= _TAIL:
            return above / n
        start = float(self.draws[-_TAIL])
        return float(_TAIL / n * (excess / start) ** -self.tail_index)

    def excess_at(self, p_value: float) -> float:
        """The inverse of `p_value`."""
        n = self.draws.size
        if p_value * n >= _TAIL:
            return float(self.draws[n - int(p_value * n)])
        start = float(self.draws[-_TAIL])
        return float(start * (p_value * n / _TAIL) ** (-1 / self.tail_index))


@lru_cache(_KEPT)
def _freedom(stretches: int, cut: Cut, memory: float) -> float:
    random = np.random.default_rng(_SEED)
    _, square = _mean_and_square(_series(random, correlations(stretches, cut, memory)))
    variance = float(np.log(square).var())
    low, high = 1.0, float(stretches)
    # Halved until nothing is left to halve: trigamma falls.
    while low < (middle := (low + high) / 2) < high:
        if polygamma(1, middle / 2) > variance:
            low = middle
        else:
            high = middle
    return low


@lru_cache(_KEPT)
def lasting_null(known: Wander, hits: int, windows: int) -> LastingNull:
    """The null of `hits` of `windows` windows.

    Args:
        known: Of the subject.
        hits: Windows that must show an effect.
        windows: Windows that are looked at.
    """
    random = np.random.default_rng(_SEED)
    n = min(known.stretches, _MOST_STRETCHES)
    following = Cut(known.cut.days, known.cut.days)
    own = _series(random, correlations(n, known.cut, known.memory))
    ahead = _series(random, correlations(windows, following, known.memory))
    mean, square = _mean_and_square(own)
    if known.prior:
        # Columns differ as the prior says; what it calls usual is what baselines show.
        varied = known.prior / random.chisquare(known.prior, (_DRAWS, 1))
        usual, freedom = square.mean(), known.freedom
        square = (known.prior * usual + freedom * square * varied) / (known.prior + freedom)
        ahead, mean = ahead * np.sqrt(varied), mean * np.sqrt(varied)
    effects = np.sort(np.abs(ahead - mean) / np.sqrt(square), axis=1)
    return LastingNull.of(effects[:, windows - hits])


def _mean_and_square(own: _Draws) -> tuple[_Draws, _Draws]:
    """float64 [draws, 1] twice: the stretches' mean, and the mean square of their effects.

    Each is held against the others alone.
    """
    n = own.shape[1]
    mean = own.mean(axis=1, keepdims=True)
    return mean, np.mean(((own - mean) * n / (n - 1)) ** 2, axis=1, keepdims=True)


def _series(random: np.random.Generator, correlated: npt.NDArray[np.float64]) -> _Draws:
    """float64 [draws, n]: normal, of mean 0 and variance 1, and correlated as told."""
    n = len(correlated)
    surprises = random.standard_normal((n, _DRAWS))
    series = np.zeros_like(surprises)
    # One by one: the bits of a product of matrices depend on the number of threads.
    for place, weights in enumerate(np.linalg.cholesky(correlated + _JITTER * np.eye(n))):
        for before in range(place + 1):
            series[place] += weights[before] * surprises[before]
    return np.ascontiguousarray(series.T)
