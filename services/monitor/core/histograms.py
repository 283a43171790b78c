"""How far two histograms over the same bins are apart, and what chance alone brings about."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common.sketches import Counts

Floats: TypeAlias = npt.NDArray[np.float64]

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
    statistics, p_values = g_tests(first[None, :], second[None, :])
    return float(statistics[0]), float(p_values[0])


def g_tests(first: Counts, second: Counts) -> tuple[Floats, Floats]:
    """float64 [pairs] twice: `g_test` of each pair of rows.

    Args:
        first: int64 [pairs, bins].
        second: int64 [pairs, bins].
    """
    # Of each bin the one count beside the other: a pair's sum is along one line of memory.
    observed = np.stack([first, second], axis=2).astype(np.float64)
    rows = observed.sum(axis=1, keepdims=True)
    both = observed.sum(axis=2, keepdims=True)
    expected = rows * both / np.maximum(rows.sum(axis=2, keepdims=True), 1)
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=observed > 0)
    terms = (observed * np.log(ratio)).reshape(len(observed), 2 * first.shape[1])
    statistics = np.maximum(2 * terms.sum(axis=1), 0.0)
    freedom = (both > 0).sum(axis=(1, 2)) - 1
    p_values = stats.chi2.sf(statistics, np.maximum(freedom, 1))
    alike = (freedom < 1) | (rows == 0).any(axis=(1, 2))
    return np.where(alike, 0.0, statistics), np.where(alike, 1.0, p_values)


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


def jensen_shannon_distances(first: Counts, second: Counts) -> Floats:
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
    distances: Floats = np.sqrt(np.clip(divergence - chance, 0.0, 1.0))
    distances[(n1 == 0) | (n2 == 0)] = 0.0
    return distances


def sampling_spread(first: Counts, second: Counts) -> float:
    """Standard deviation of the squared distance of two samples of one distribution.

    Args:
        first: int64 [bins].
        second: int64 [bins].
    """
    return float(sampling_spreads(first[None, :], second[None, :])[0])


def sampling_spreads(first: Counts, second: Counts) -> Floats:
    """float64 [pairs]: `sampling_spread` of each pair of rows.

    Args:
        first: int64 [pairs, bins].
        second: int64 [pairs, bins].
    """
    n1, n2 = first.sum(axis=1), second.sum(axis=1)
    freedom = np.maximum(((first + second) > 0).sum(axis=1) - 1, 1)
    share = 1 / np.maximum(n1, 1) + 1 / np.maximum(n2, 1)
    spreads: Floats = _CHANCE * share * np.sqrt(2 * freedom)
    return np.where((n1 == 0) | (n2 == 0), 0.0, spreads)


def group_names(groups: Counts, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The name of each coarse group, after the bins that it pools.

    Args:
        groups: int64 [bins], the group of each fine bin.
        labels: Of the fine bins.
    """
    members: list[list[str]] = [[] for _ in range(int(groups.max()) + 1)]
    for group, label in zip(groups.tolist(), labels, strict=True):
        members[group].append(label)
    return tuple(_joined(inside) for inside in members)


def _joined(labels: list[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    if labels[0].startswith("[") and labels[-1].endswith(")"):
        return f"{labels[0].partition(',')[0]},{labels[-1].partition(',')[2]}"
    return f"({len(labels)} rare values)"


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    summed: Floats = (p * np.log2(ratio)).sum(axis=1)
    return summed
