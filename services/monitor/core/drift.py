"""Whether a window's columns still look like those that the model was trained on.

p-values alone fire all the time: rows of one week share their weather and their season, so
they are no independent draws, and with enough rows every difference is significant. So a
column has drifted only if four conditions hold: it is a finding among all of the window's
columns (Benjamini-Hochberg), the window has enough rows, the effect exceeds a floor, and
enough of the last windows show the same. The floor of a column is never below the distances
that the baseline's own stretches of that length have from the rest of the baseline: a
column that wanders by itself, such as a temperature, must wander further to count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common.profiles import ColumnProfile
from services.common.sketches import BLOCK_S, Counts, coarse_counts
from services.monitor.core.resources import DriftPoint, DriftTest, HistogramBin

ALGORITHM: Final = "g_test"

OWN_SPREAD_COVERAGE: Final = 0.99
"""Share of windows without drift that stay below a column's own floor. With 3 windows of 4
this left 6 % of 96 simulated weeks of 20 autocorrelated columns with any false drift, while a
shift of one deviation was found in the third week; BH and a floor of 0.1 alone left 100 %."""

_MIN_BLOCKS: Final = 3


def drift_points(
    baseline: Mapping[str, ColumnProfile],
    window: Mapping[str, Counts],
    earlier: Sequence[frozenset[str]],
    *,
    length: timedelta,
    test: DriftTest,
) -> tuple[DriftPoint, ...]:
    """One point per column of the baseline, in its order.

    Args:
        baseline: What the model was trained on.
        window: int64 counts over each column's frozen bins.
        earlier: Columns found significant in the windows before, newest first.
        length: Of the part of the window that the rows are from.
        test: When a column counts as drifted.
    """
    drawn = [_Comparison.of(baseline[name], window[name]) for name in baseline]
    q_values = benjamini_hochberg(np.array([comparison.p_value for comparison in drawn]))
    recent = list(earlier[: test.persistence_windows - 1])
    points = []
    for name, comparison, q_value in zip(baseline, drawn, q_values.tolist(), strict=True):
        threshold = max(test.effect_floor, own_spread(baseline[name].blocks, length))
        significant = (
            q_value <= test.false_discovery_rate
            and comparison.effect_size >= threshold
            and comparison.window_rows >= test.min_rows
        )
        hits = int(significant) + sum(name in found for found in recent)
        points.append(
            DriftPoint(
                feature=name,
                statistic=comparison.statistic,
                effect_size=comparison.effect_size,
                p_value=comparison.p_value,
                q_value=q_value,
                baseline_rows=comparison.baseline_rows,
                window_rows=comparison.window_rows,
                threshold=threshold,
                algorithm=ALGORITHM,
                significant=significant,
                drifted=significant and hits >= test.persistence_hits,
                bins=comparison.bins,
            )
        )
    return tuple(points)


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
    less what two samples of these sizes from one distribution differ by on average:
    (bins - 1) / (8 ln 2) * (1/n1 + 1/n2), its second-order expansion.

    Args:
        first: int64 [bins].
        second: int64 [bins].

    Returns:
        0 (alike) to 1 (nothing in common); 0 if either is empty.
    """
    n1, n2 = int(first.sum()), int(second.sum())
    if not n1 or not n2:
        return 0.0
    p, q = first / n1, second / n2
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    occupied = int(((first + second) > 0).sum())
    chance = (occupied - 1) / (8 * np.log(2)) * (1 / n1 + 1 / n2)
    return float(np.sqrt(min(1.0, max(0.0, divergence - chance))))


def benjamini_hochberg(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64 [n]: the smallest false discovery rate at which each test is a finding.

    Benjamini and Hochberg, 1995; never below the p-value and never above 1.
    """
    n = p_values.size
    order = np.argsort(p_values)
    scaled = p_values[order] * n / np.arange(1, n + 1)
    q_values = np.empty(n)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values


def own_spread(blocks: Counts, length: timedelta) -> float:
    """How far a stretch as long as a window may be from the baseline without any drift.

    Each stretch of the baseline is compared with the rest of it. Stretches shorter than a
    day are compared as days, since the baseline keeps no finer ones.

    Args:
        blocks: int64 [days, groups], the baseline by day.
        length: Of the window.

    Returns:
        Student's one-sided prediction limit for the next distance (Hahn, JASA 1969), but at
        most halfway from the largest one to 1, so that a column with nothing in common is
        always found; 0 with fewer than three stretches.
    """
    days = max(1, -(-length // timedelta(seconds=BLOCK_S)))
    stretches = blocks.shape[0] // days
    if stretches < _MIN_BLOCKS:
        return 0.0
    pooled = blocks[: stretches * days].reshape(stretches, days, -1).sum(axis=1)
    total = pooled.sum(axis=0)
    distances = np.array([jensen_shannon_distance(total - part, part) for part in pooled])
    quantile = float(stats.t.ppf(OWN_SPREAD_COVERAGE, stretches - 1))
    spread = float(distances.std(ddof=1)) * np.sqrt(1 + 1 / stretches)
    limit = float(distances.mean()) + quantile * spread
    return float(min(limit, (1 + distances.max()) / 2))


@dataclass(frozen=True, slots=True)
class _Comparison:
    statistic: float
    p_value: float
    effect_size: float
    baseline_rows: int
    window_rows: int
    bins: tuple[HistogramBin, ...]

    @classmethod
    def of(cls, baseline: ColumnProfile, counts: Counts) -> _Comparison:
        groups = baseline.sketch.coarse_groups()
        before, now = coarse_counts(groups, baseline.sketch.counts), coarse_counts(groups, counts)
        statistic, p_value = g_test(before, now)
        labels = _group_labels(groups, baseline.sketch.bins.labels)
        return cls(
            statistic,
            p_value,
            jensen_shannon_distance(before, now),
            int(before.sum()),
            int(now.sum()),
            tuple(
                HistogramBin(label, then, after)
                for label, then, after in zip(labels, before.tolist(), now.tolist(), strict=True)
            ),
        )


def _group_labels(groups: Counts, labels: tuple[str, ...]) -> list[str]:
    members: list[list[str]] = [[] for _ in range(int(groups.max()) + 1)]
    for group, label in zip(groups.tolist(), labels, strict=True):
        members[group].append(label)
    return [_joined(inside) for inside in members]


def _joined(labels: list[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    if labels[0].startswith("[") and labels[-1].endswith(")"):
        return f"{labels[0].partition(',')[0]},{labels[-1].partition(',')[2]}"
    return f"({len(labels)} rare values)"


def _relative_entropy(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return float((p * np.log2(ratio)).sum())
