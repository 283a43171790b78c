"""How long columns remember: what makes neighbouring days, and so weeks, alike.

A level that goes on from one day to the next, a little nearer to its mean (an autoregressive
series of the first order), is what all columns are taken to have beside their rows' chance; how
near, is pooled over them. A few weeks say little of how alike weeks are, their days say much more;
but where days have a mood of their own beside that level, the weeks show more than the days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.sketches import Counts

FEWEST_STRETCHES: Final = 3
"""Below it nobody can say how far a column goes by itself."""

DAYS_OF_WEEK: Final = 7

_HUNDREDTHS: Final = 100
_PATTERNS: Final = 4096

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cut:
    """How a series of days is cut into stretches.

    Attributes:
        days: Of a stretch.
        spacing: Days from the start of one to that of the next.
    """

    days: int
    spacing: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike neighbours of one series are, to be pooled over columns.

    Attributes:
        together: Sum over neighbours of the products of their deviations.
        alone: Sum of the squared deviations, less chance; below 0 by chance.
        doubt: Variance of `alone` by chance, twice that of `together`.
        neighbours: Pairs of neighbours.
    """

    together: float = 0.0
    alone: float = 0.0
    doubt: float = 0.0
    neighbours: int = 0

    @classmethod
    def of(cls, counts: Counts, classes: npt.NDArray[np.intp], near: npt.NDArray[np.bool_]) -> Self:
        """Of one column, each class's mean taken away.

        Args:
            counts: int64 [pieces, groups], in time order.
            classes: intp [pieces], of which class each is, such as its day of the week.
            near: bool [pieces - 1], whether each is followed by its neighbour.
        """
        rows = counts.sum(axis=1)
        some = np.maximum(rows, 1)
        counts = counts[:, counts.any(axis=0)]
        # The variance of such a root hardly depends on the share (Anscombe, Biometrika 1948).
        roots = np.sqrt((counts + 3 / 8) / (some + 3 / 4)[:, None])
        members = (classes[:, None] == np.unique(classes)) & (rows > 0)[:, None]
        sizes = np.maximum(members.sum(axis=0), 1)
        means = (members.T[:, :, None] * roots[None]).sum(axis=1) / sizes[:, None]
        away = (roots - (members[:, :, None] * means[None]).sum(axis=1)) * (rows > 0)[:, None]
        freedom = max(counts.shape[1] - 1, 0)
        left = (members * (1 - 1 / sizes)).sum(axis=1)
        chance = freedom / 4 * float((left / some).sum())
        return cls(
            float((away[:-1] * away[1:])[near].sum()),
            float((away**2).sum()) - chance,
            2 * chance**2 / max(freedom * len(counts), 1),
            int(near.sum()),
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What the baseline of one column says of its memory.

    Attributes:
        days: Since the epoch, ascending; empty where nothing is known.
        by_day: How alike days are, beside what their days of the week have in common.
        by_stretch: How alike stretches are.
        stretches: How many.
        cut: How they lie.
    """

    days: tuple[int, ...] = ()
    by_day: Likeness = Likeness()
    by_stretch: Likeness = Likeness()
    stretches: int = 0
    cut: Cut = Cut(1, 1)

    @classmethod
    def of(cls, blocks: Counts, days: tuple[int, ...], stretches: Counts, cut: Cut) -> Self:
        """Of one column.

        Args:
            blocks: int64 [days, groups].
            days: Of the blocks.
            stretches: int64 [stretches, groups].
            cut: How they lie.
        """
        n = len(stretches)
        if n < FEWEST_STRETCHES:
            return cls()
        dates = np.array(days)
        return cls(
            days,
            Likeness.of(blocks, dates % DAYS_OF_WEEK, np.diff(dates) == 1),
            Likeness.of(stretches, np.zeros(n, np.intp), np.ones(n - 1, np.bool_)),
            n,
            cut,
        )


def pooled_memory(memories: Sequence[Memory]) -> float:
    """Correlation of a day's level with that of the day before, 0 to .99, to a hundredth.

    The larger of what days say, one standard error added (Bartlett, JRSS Supplement 1946), and
    of what stretches say at the least, one taken away. Means that are taken away take some of the
    memory with them: it is that with which the series would show on average what was seen.

    Args:
        memories: Of all columns. Those of the same days speak that wander the most: the scores,
            of a few held-out weeks, don't speak for the features.
    """
    heard: dict[tuple[int, ...], list[Memory]] = {}
    for each in memories:
        if each.days:
            heard.setdefault(each.days, []).append(each)
    if not heard:
        return 0.0
    speakers = max(heard.values(), key=lambda each: sum(one.by_day.alone for one in each))
    first, found = speakers[0], 0.0
    by_day = _pooled([each.by_day for each in speakers])
    if by_day is not None:
        seen, error = by_day
        found = _inverted(seen + error, lambda memory: _shown_by_days(first.days, memory))
    by_stretch = _pooled([each.by_stretch for each in speakers])
    if by_stretch is not None:
        seen, error = by_stretch
        shown = _inverted(
            seen - error, lambda memory: _shown_by_stretches(first.stretches, first.cut, memory)
        )
        found = max(found, shown)
    return found


@lru_cache(_PATTERNS)
def correlations(stretches: int, cut: Cut, memory: float) -> Floats:
    """float64 [stretches, stretches]: of the means of stretches of days.

    Args:
        stretches: How many.
        cut: How they lie.
        memory: Correlation of a day with the day before.
    """
    within = cut.days - np.abs(np.arange(1 - cut.days, cut.days))
    apart = np.abs(np.arange(stretches)[:, None] * cut.spacing + np.arange(1 - cut.days, cut.days))
    by_lag = (float(memory) ** apart * within).sum(axis=1)
    places = np.arange(stretches)
    return np.asarray(by_lag[np.abs(np.subtract.outer(places, places))] / by_lag[0])


def _pooled(likenesses: Sequence[Likeness]) -> tuple[float, float] | None:
    """The correlation that is seen, and its standard error.

    None without neighbours, and where nothing wanders beyond what chance may show.
    """
    alone = sum(each.alone for each in likenesses)
    doubt = sum(each.doubt for each in likenesses)
    neighbours = sum(each.neighbours for each in likenesses)
    if not neighbours or alone <= 2 * np.sqrt(doubt):
        return None
    seen = float(np.clip(sum(each.together for each in likenesses) / alone, -1.0, 1.0))
    return seen, float(np.sqrt((1 - seen**2) / neighbours + doubt / 2 / alone**2))


def _inverted(seen: float, shown: Callable[[float], float]) -> float:
    """The memory, to the nearest hundredth, that shows as much as was seen."""
    low, high = 0, _HUNDREDTHS - 1
    while low < high:
        middle = (low + high + 1) // 2
        if shown((middle - 0.5) / _HUNDREDTHS) <= seen:
            low = middle
        else:
            high = middle - 1
    return low / _HUNDREDTHS


@lru_cache(_PATTERNS)
def _shown_by_days(days: tuple[int, ...], memory: float) -> float:
    """What `Likeness` of these days is on average."""
    dates = np.array(days)
    covariance = memory ** np.abs(np.subtract.outer(dates, dates)).astype(np.float64)
    weekdays = np.unique(dates % DAYS_OF_WEEK, return_inverse=True)[1]
    members = (weekdays[:, None] == np.arange(weekdays.max() + 1)) * 1.0
    shares = members / members.sum(axis=0)
    of_means = members @ (shares.T @ covariance)
    of_both = members @ (shares.T @ covariance @ shares) @ members.T
    left = covariance - of_means - of_means.T + of_both
    near = np.diff(dates) == 1
    return float(left.diagonal(1)[near].sum() / left.trace())


@lru_cache(_PATTERNS)
def _shown_by_stretches(stretches: int, cut: Cut, memory: float) -> float:
    """What `Likeness` of stretches is on average."""
    covariance = correlations(stretches, cut, memory)
    mean = covariance.mean(axis=0)
    left = covariance - mean - mean[:, None] + mean.mean()
    return float(left.trace(1) / left.trace())
