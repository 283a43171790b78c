"""Bounds on a difference that hold at every moment at once, however often one looks.

Everything here is a function of counts and sums alone, so the order in which evidence came
does not matter, and the same evidence gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

TUNED_FOR: Final = 500
"""Pieces of evidence at which the bounds of a mean are tightest; they hold at any other."""

MIN_CLUSTERS: Final = 50
"""Of either version, before a mean has bounds: theirs rest on a central limit theorem."""

_TILTS: Final = np.geomspace(0.02, 6.0, 16)
"""Log odds ratios that are mixed over: from a tenth more of a frequent event to a rare one that
became frequent. Sixteen cost at most log 16 = 2.8 nats of evidence, whatever the truth."""

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Share:
    """Events among trials, `0 <= hits <= n`."""

    n: int
    hits: int


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean, and how far to trust it.

    Attributes:
        clusters: Independent pieces of evidence.
        value: The mean over all rows.
        standard_error: Of `value`, with the clusters as units.
    """

    clusters: int
    value: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a difference, candidate less champion; either is wrong with a chance of alpha, ever."""

    lower: float
    upper: float


@lru_cache(maxsize=4096)
def share_difference(candidate: Share, champion: Share, alpha: float) -> Bounds:
    """Bounds of the difference of two shares.

    With a tilt t, exp(t k) / (1 - p + p e^t)^n is a supermartingale whenever the mean of the
    chances so far is p, also if they change with time (Howard, Ramdas, McAuliffe and Sekhon,
    Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of Statistics 2021,
    section 3: sub-Bernoulli processes; mixtures over a grid of tilts as in their section 3.5).
    The product of one for each version is an e-process for a pair of shares; its infimum over
    the pairs that differ by d is one for the difference d, and by Ville's inequality reaches
    1 / alpha with a chance of at most alpha. No sample is too small: nothing is asymptotic.

    Args:
        candidate: Of the new version.
        champion: Of the old one.
        alpha: Chance that the truth is ever below the lower bound; so for the upper one.
    """
    threshold = log(1 / alpha)
    estimate = _rate(candidate) - _rate(champion)
    return Bounds(
        lower=_bound(candidate, champion, estimate, threshold),
        upper=-_bound(champion, candidate, -estimate, threshold),
    )


def is_above(candidate: Share, champion: Share, difference: float, alpha: float) -> bool:
    """Whether the lower bound of `share_difference` is above `difference`; much cheaper."""
    if _rate(candidate) - _rate(champion) <= difference:
        return False
    return _evidence(candidate, champion, difference) >= log(1 / alpha)


def mean_difference(candidate: Mean, champion: Mean, alpha: float) -> Bounds | None:
    """Bounds of the difference of two means; None while there is too little for any.

    The one-sided asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and
    Ramdas (Time-uniform central limit theory and asymptotic confidence sequences, Annals of
    Statistics 2024, appendix B), over a clock that runs with the information on the difference:
    `n1 n2 / (n1 + n2)` pieces of evidence. The same bound inverts the mixture sequential
    probability ratio test (Johari, Koomen, Pekelis and Walsh, Operations Research 2022).

    Args:
        candidate: Of the new version.
        champion: Of the old one.
        alpha: Chance that the truth is ever below the lower bound; so for the upper one.
    """
    fewest = min(candidate.clusters, champion.clusters)
    error = float(np.hypot(candidate.standard_error, champion.standard_error))
    if fewest < MIN_CLUSTERS or error == 0:
        return None
    clock = candidate.clusters * champion.clusters / (candidate.clusters + champion.clusters)
    # Their equation for the tightest mixture, for a level that only one side spends.
    level = -2 * log(2 * alpha)
    scaled = clock * (level + log(level + 1)) / TUNED_FOR
    width = error * sqrt(2 * (1 + 1 / scaled) * log(1 + sqrt(scaled + 1) / (2 * alpha)))
    effect = candidate.value - champion.value
    return Bounds(effect - width, effect + width)


def _bound(higher: Share, lower: Share, estimate: float, threshold: float) -> float:
    """Largest difference that is excluded from below; -1 if none is."""
    if not higher.n or not lower.n:
        return -1.0

    def short_of(difference: float) -> float:
        return _evidence(higher, lower, difference) - threshold

    # About as wide as a normal interval that spends as much; found in a step or two.
    variance = sum((each.hits + 1) / each.n**2 for each in (higher, lower))
    step, excluded, open_at = sqrt(2 * threshold * variance), estimate, 1.0
    while short_of(excluded) < 0:
        if excluded <= -1:
            return -1.0
        step, excluded, open_at = 2 * step, max(-1.0, excluded - step), excluded
    return float(brentq(short_of, excluded, open_at, xtol=1e-6, rtol=1e-4))


def _evidence(higher: Share, lower: Share, difference: float) -> float:
    """Nats against the shares' differing by `difference` or less."""
    if not higher.n or not lower.n:
        return 0.0
    left, right = max(0.0, -difference), min(1.0, 1.0 - difference)

    def at(p: float) -> tuple[float, float]:
        up, up_slope = _log_mixture(higher, min(p + difference, 1.0), _TILTS)
        down, down_slope = _log_mixture(lower, p, -_TILTS)
        return up + down, up_slope + down_slope

    # Each mixture is convex in its share, so the sum is lowest where its slope changes sign.
    if right - left <= _TINY or at(left)[1] >= 0:
        return at(left)[0]
    if at(right)[1] <= 0:
        return at(right)[0]
    return at(float(brentq(lambda p: at(p)[1], left, right, xtol=1e-7, rtol=1e-5)))[0]


def _log_mixture(share: Share, p: float, tilts: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Log of the mixed supermartingale at the mean chance `p`, and its slope in `p`."""
    gains = np.expm1(tilts)
    inner = np.maximum(1 + p * gains, _TINY)
    logs = tilts * share.hits - share.n * np.log(inner)
    top = logs.max()
    weights = np.exp(logs - top)
    total = weights.sum()
    slope = -share.n * float((weights * gains / inner).sum() / total)
    return float(top + np.log(total / tilts.size)), slope


def _rate(share: Share) -> float:
    return share.hits / share.n if share.n else 0.0
