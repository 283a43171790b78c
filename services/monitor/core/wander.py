"""How far a column goes by itself: what a lasting difference is worth against that.

Rows of one week share their weather and their mood, so they are no independent draws, and a
test that takes them for such fires all the time. So an effect is held against the effects
that stretches of the baseline, as long as the window and of the same days of the week, have
from the rest of the baseline: a block null. There are only a few stretches, and each
remembers the one before; what their small number and that memory are worth is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from services.common.sketches import Counts

FEWEST_STRETCHES: Final = 3
"""Below it nobody can say how far a column goes by itself."""

_MOST_STRETCHES: Final = 30
DAYS_OF_WEEK: Final = 7
_MOST_MEMORY: Final = 0.9
_MEMORY_STEP: Final = 0.1
_DRAWS: Final = 100_000
_SEED: Final = 20130301
_TAIL: Final = 200
"""Largest draws from which on the tail is a power law: it is one of Student's kind."""


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
class Memory:
    """How alike neighbouring stretches are, to be pooled over columns.

    Attributes:
        together: Sum over neighbours of the products of their deviations, less chance.
        alone: Sum of the squared deviations, less chance.
        neighbours: Pairs of neighbours.
        stretches: Of the column.
    """

    together: float
    alone: float
    neighbours: int
    stretches: int

    @classmethod
    def of(cls, stretches: Counts) -> Memory:
        """Of one column.

        Args:
            stretches: int64 [stretches, groups].
        """
        rows = stretches.sum(axis=1)
        kept = stretches[rows > 0]
        if kept.shape[0] < FEWEST_STRETCHES:
            return cls(0.0, 0.0, 0, kept.shape[0])
        # The variance of the root of a share hardly depends on the share (Freeman and Tukey).
        roots = np.sqrt(kept / kept.sum(axis=1, keepdims=True))
        away = roots - roots.mean(axis=0)
        freedom = max(int((kept.sum(axis=0) > 0).sum()) - 1, 0)
        chance = freedom / 4 * float((1 / kept.sum(axis=1)).sum()) * (1 - 1 / kept.shape[0])
        return cls(
            float((away[:-1] * away[1:]).sum()),
            max(0.0, float((away**2).sum()) - chance),
            kept.shape[0] - 1,
            kept.shape[0],
        )


def pooled_memory(memories: Sequence[Memory]) -> float:
    """Correlation of a stretch with the one before, 0 to .9, rounded up to a tenth.

    The estimate of n stretches is too low by (1 + 4 r) / n (Marriott and Pope, Biometrika
    1954); that is undone, for each column as much as it has part in the estimate, and one
    standard error is added.
    """
    known = [memory for memory in memories if memory.neighbours and memory.alone > 0]
    if not known:
        return 0.0
    together = sum(memory.together for memory in known)
    alone = sum(memory.alone for memory in known)
    # Not the fewest of any: the scores, of a few held-out weeks, would speak for all columns.
    n = alone / sum(memory.alone / memory.stretches for memory in known)
    seen = together / alone
    corrected = (seen + 1 / n) / (1 - 4 / n) if n > 2 * 4 else seen + 1 / n
    error = 1 / np.sqrt(sum(memory.neighbours for memory in known))
    steps = np.ceil(round((corrected + float(error)) / _MEMORY_STEP, 6))
    return float(np.clip(steps * _MEMORY_STEP, 0.0, _MOST_MEMORY))


@dataclass(frozen=True, slots=True)
class LastingNull:
    """What the `hits`-th largest of the last windows' effects is without drift.

    Effects are in units of the root mean square of the baseline's own. The baseline's
    stretches and the windows are draws of one autoregressive series of the first order, far
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


@cache
def lasting_null(stretches: int, memory: float, prior: int, hits: int, windows: int) -> LastingNull:
    """The null of `hits` of `windows` windows, given how many stretches the baseline has.

    Args:
        stretches: Of the baseline; above 30 they count as 30.
        memory: Correlation of a stretch with the one before.
        prior: Degrees of freedom of what other columns say of the own mean square.
        hits: Windows that must show an effect.
        windows: Windows that are looked at.
    """
    random = np.random.default_rng(_SEED)
    own = _series(random, min(stretches, _MOST_STRETCHES), memory)
    ahead = _series(random, windows, memory)
    n = own.shape[1]
    mean = own.mean(axis=1, keepdims=True)
    square = np.mean(((own - mean) * n / (n - 1)) ** 2, axis=1, keepdims=True)
    if prior:
        # Columns differ as the prior says; in units in which the usual mean square is 1.
        varied = prior / random.chisquare(prior, (_DRAWS, 1))
        square = (prior + (n - 1) * square * varied) / (prior + n - 1)
        ahead, mean = ahead * np.sqrt(varied), mean * np.sqrt(varied)
    effects = np.sort(np.abs(ahead - mean) / np.sqrt(square), axis=1)
    return LastingNull.of(effects[:, windows - hits])


def _series(random: np.random.Generator, n: int, memory: float) -> npt.NDArray[np.float64]:
    surprises = random.standard_normal((_DRAWS, n))
    series = np.empty_like(surprises)
    series[:, 0] = surprises[:, 0]
    for step in range(1, n):
        fresh = np.sqrt(1 - memory**2) * surprises[:, step]
        series[:, step] = memory * series[:, step - 1] + fresh
    return series
