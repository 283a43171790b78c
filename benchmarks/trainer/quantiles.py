"""Quantiles of what was measured call by call."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values don't exceed (nearest rank).

    Args:
        values: One or more, in any order.
        share: Above 0, at most 1.
    """
    rank = -(-len(values) * share // 1)
    return sorted(values)[max(1, int(rank)) - 1]
