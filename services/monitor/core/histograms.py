"""How far two histograms over the same bins are apart, and what chance alone brings about."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common.sketches import Counts
from services.monitor.core.resources import HistogramBin

_CHANCE: Final = 1 / (8 * np.log(2))
"""Mean of the Jensen-Shannon divergence, in bits, of two samples of one distribution, per
degree of freedom and per (1/n1 + 1/n2): the second-order expansion of the entropy."""


def g_test(first: Counts, second: Counts) -> tuple[float, float]:
    """The likelihood-ratio statistic of two histograms over the same bins, and its p-value.

    The p-value holds for independent rows (Sokal and Rohlf, Biometry, 1981).

    Args:
        first: int64 [bins].
        second: int64 [bins].

    Returns:
        G, in nats and >= 0, and the chance of at least G if both come from one distribution.
    """
    observed = np.stack([first, second]).astype(np.float64)
    observed = observed[:, observed.sum(axis=0) > 0]
    rows = observed.sum(axis=1, keepdims=True)
    if observed.shape[1] < 2 or (rows == 0).any():
        return 0.0, 1.0
    expected = rows * observed.sum(axis=0) / rows.sum()
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=observed > 0)
    statistic = max(0.0, 2 * float((observed * np.log(ratio)).sum()))
    return statistic, float(stats.chi2.sf(statistic, observed.shape[1] - 1))


def jensen_shannon_distance(first: Counts, second: Counts) -> float:
    """How far two histograms are apart, whatever the number of rows.

    The square root of the Jensen-Shannon divergence in bits (Endres and Schindelin, 2003),
    less what two samples of these sizes from one distribution differ by on average.

    Args:
        first: int64 [bins].
        second: int64 [bins].

    Returns:
        0 (alike) to 1 (nothing in common); 0 if either is empty.
    """
    return float(jensen_shannon_distances(first[None, :], second[None, :])[0])


def jensen_shannon_distances(first: Counts, second: Counts) -> npt.NDArray[np.float64]:
    """float64 [pairs]: `jensen_shannon_distance` of each pair of rows.

    Args:
        first: int64 [pairs, bins].
        second: int64 [pairs, bins].
    """
    n1, n2 = first.sum(axis=1), second.sum(axis=1)
    some1, some2 = np.maximum(n1, 1), np.maximum(n2, 1)
    p, q = first / some1[:, None], second / some2[:, None]
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    occupied = ((first + second) > 0).sum(axis=1)
    chance = _CHANCE * (occupied - 1) * (1 / some1 + 1 / some2)
    distances: npt.NDArray[np.float64] = np.sqrt(np.clip(divergence - chance, 0.0, 1.0))
    distances[(n1 == 0) | (n2 == 0)] = 0.0
    return distances


def sampling_spread(first: Counts, second: Counts) -> float:
    """Standard deviation of the squared distance of two samples of one distribution.

    Args:
        first: int64 [bins].
        second: int64 [bins].
    """
    n1, n2 = int(first.sum()), int(second.sum())
    if not n1 or not n2:
        return 0.0
    freedom = max(int(((first + second) > 0).sum()) - 1, 1)
    return float(_CHANCE * (1 / n1 + 1 / n2) * np.sqrt(2 * freedom))


def labelled_bins(
    groups: Counts, labels: tuple[str, ...], first: Counts, second: Counts
) -> tuple[HistogramBin, ...]:
    """Both histograms over coarse groups, each named after the bins that it pools.

    Args:
        groups: int64 [bins], the group of each fine bin.
        labels: Of the fine bins.
        first: int64 [groups].
        second: int64 [groups].
    """
    members: list[list[str]] = [[] for _ in range(int(groups.max()) + 1)]
    for group, label in zip(groups.tolist(), labels, strict=True):
        members[group].append(label)
    return tuple(
        HistogramBin(_joined(inside), before, now)
        for inside, before, now in zip(members, first.tolist(), second.tolist(), strict=True)
    )


def _joined(labels: list[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    if labels[0].startswith("[") and labels[-1].endswith(")"):
        return f"{labels[0].partition(',')[0]},{labels[-1].partition(',')[2]}"
    return f"({len(labels)} rare values)"


def _relative_entropy(
    p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    summed: npt.NDArray[np.float64] = (p * np.log2(ratio)).sum(axis=1)
    return summed
