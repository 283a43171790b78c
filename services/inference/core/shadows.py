"""Shadow traffic: what a version would have answered, beside what was answered."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any, Final

from services.common.names import ResourceName
from services.common.resources import Meta

SHADOW_NAME: Final = ResourceName(
    "projects/{project}/endpoints/{endpoint}/rollouts/{rollout}/shadows/{shadow}",
    server_ids=("shadow",),
)

SCORE_BINS: Final = 20
"""Of equal width over [0, 1]."""

ALPHA: Final = 0.05
"""Chance that the agreement's interval ever misses, however often it is looked at."""

_NORMAL_95: Final = 1.959964
_LATENCY_BINS: Final = 72
_SHORTEST_S: Final = 5e-5
_BINS_PER_DOUBLING: Final = 4
_NO_SCORES: Final = (0,) * SCORE_BINS
_NO_LATENCIES: Final = (0,) * _LATENCY_BINS


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets copies of an endpoint's requests and answers nobody.

    Attributes:
        version: Held by the endpoint, without a share of the traffic.
        sample_bp: Share of the requests that are copied, in basis points.
        report: Resource name of what the comparison is kept as.
    """

    version: str
    sample_bp: int
    report: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of mirrored requests; two add up to that of both.

    Attributes:
        compared: Requests that both versions answered.
        agreed: Those of them with the same decision in each row.
        failed: The candidate could not answer what the champion had answered.
        dropped: Too much waited already, so the copy was thrown away.
        expired: The copy's own deadline passed before its turn.
        rows: In all requests compared.
        shift_sum: Of the mean difference of the scores of each request,
        shift_squares: and of its square.
        distance_sum: Of the mean absolute difference of each request.
        champion_scores: Rows by `SCORE_BINS`,
        candidate_scores: of either version.
        champion_latencies: Requests by `latency_bin`,
        candidate_latencies: of either version.
    """

    compared: int = 0
    agreed: int = 0
    failed: int = 0
    dropped: int = 0
    expired: int = 0
    rows: int = 0
    shift_sum: float = 0.0
    shift_squares: float = 0.0
    distance_sum: float = 0.0
    champion_scores: tuple[int, ...] = _NO_SCORES
    candidate_scores: tuple[int, ...] = _NO_SCORES
    champion_latencies: tuple[int, ...] = _NO_LATENCIES
    candidate_latencies: tuple[int, ...] = _NO_LATENCIES

    def __add__(self, other: Tally) -> Tally:
        sums: dict[str, Any] = {}  # numbers and tuples of them, as the fields are
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            sums[each.name] = (
                tuple(map(sum, zip(mine, others, strict=True)))
                if isinstance(mine, tuple)
                else mine + others
            )
        return Tally(**sums)

    @property
    def mirrored(self) -> int:
        """Requests that were copied, whatever became of the copy."""
        return self.compared + self.failed + self.dropped + self.expired


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """The comparison of one shadow phase.

    Attributes:
        version: The candidate.
        champion: The version that answered.
    """

    meta: Meta
    version: str
    champion: str
    tally: Tally = field(default_factory=Tally)

    def with_more(self, tally: Tally, meta: Meta) -> ShadowReport:
        """This report after `tally` came in."""
        return replace(self, tally=self.tally + tally, meta=meta)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and where the truth lies with a confidence of 95 %."""

    value: float
    low: float
    high: float


def no_latencies() -> tuple[int, ...]:
    """Counts by `latency_bin` before the first."""
    return _NO_LATENCIES


def agreement(tally: Tally) -> Interval | None:
    """The share of requests with the same decisions; None before the first.

    The interval holds at all times together, so it may be looked at as often as one likes:
    a proportion is left out once its mixture likelihood ratio reaches 1 / alpha (Robbins,
    Statistical methods related to the law of the iterated logarithm, 1970).
    """
    n, same = tally.compared, tally.agreed
    if not n:
        return None
    rate = same / n
    return Interval(
        rate,
        _edge(lambda p: _log_ratio(same, n, p), 0.0, rate),
        _edge(lambda p: _log_ratio(same, n, p), 1.0, rate),
    )


def score_shift(tally: Tally) -> Interval | None:
    """By how much the candidate scores higher on average; None with fewer than two requests.

    The interval is the normal one for the sample as it is.
    """
    n = tally.compared
    if n < 2:
        return None
    mean = tally.shift_sum / n
    variance = max(0.0, (tally.shift_squares - n * mean * mean) / (n - 1))
    half = _NORMAL_95 * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half)


def score_distance(tally: Tally) -> float:
    """Largest gap between the two cumulative distributions of the scores, over the bins; 0 to 1."""
    if not tally.rows:
        return 0.0
    gaps = zip(accumulate(tally.champion_scores), accumulate(tally.candidate_scores), strict=True)
    return max(abs(one - other) for one, other in gaps) / tally.rows


def latency_bin(seconds: float) -> int:
    """The bin of a latency; each is a fifth wider than the one before."""
    if seconds <= _SHORTEST_S:
        return 0
    place = 1 + int(_BINS_PER_DOUBLING * math.log2(seconds / _SHORTEST_S))
    return min(place, _LATENCY_BINS - 1)


def latency_quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The upper edge of the bin that holds the quantile, in seconds; None without latencies."""
    total = sum(counts)
    if not total:
        return None
    place = bisect_left(list(accumulate(counts)), share * total)
    return float(_SHORTEST_S * 2 ** (place / _BINS_PER_DOUBLING))


def _log_ratio(same: int, n: int, p: float) -> float:
    """Log of the uniform mixture's likelihood over that of `p`."""
    mixture = math.lgamma(same + 1) + math.lgamma(n - same + 1) - math.lgamma(n + 2)
    if (p == 0.0 and same) or (p == 1.0 and same < n):
        return math.inf
    own = (same * math.log(p) if same else 0.0) + ((n - same) * math.log1p(-p) if same < n else 0.0)
    return mixture - own


def _edge(log_ratio: Callable[[float], float], outside: float, inside: float) -> float:
    """Where `log_ratio` reaches log(1 / alpha) between a proportion left out and the estimate."""
    limit = math.log(1 / ALPHA)
    if log_ratio(outside) < limit:
        return outside
    for _ in range(50):
        middle = (outside + inside) / 2
        if log_ratio(middle) < limit:
            inside = middle
        else:
            outside = middle
    return outside
