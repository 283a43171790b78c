"""Measures a histogram of a window against its baseline's; most detectors are a choice of bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from services.common.profiles import ColumnProfile
from services.common.sketches import BinKind, Counts, coarse_counts
from services.monitor.core.course import Course
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.histograms import (
    g_test,
    jensen_shannon_distance,
    jensen_shannon_distances,
    labelled_bins,
    sampling_spread,
)
from services.monitor.core.resources import HistogramBin
from services.monitor.core.wander import Memory, stretches_of

OUTSIDE_NUMERIC: Final = 3
"""Coarse groups beside a numeric column's own: below, above and missing, the last ones."""

OUTSIDE_CATEGORICAL: Final = 2
"""Coarse groups beside a categorical column's own: other and missing, the last ones."""


def group_count(column: ColumnProfile) -> int:
    """How many coarse groups a column has."""
    return int(column.groups.max()) + 1


def is_numeric(column: ColumnProfile) -> bool:
    """Whether it holds numbers."""
    return column.sketch.bins.kind is BinKind.NUMERIC


def merged(counts: Counts, parts: Sequence[Sequence[int]]) -> Counts:
    """int64 [..., parts]: the groups of each part added up; groups of no part are left out.

    Args:
        counts: int64 [..., groups].
        parts: Groups by index.
    """
    starts = np.cumsum([0, *map(len, parts[:-1])])
    order = [group for part in parts for group in part]
    return np.add.reduceat(counts[..., order], starts, axis=-1)


def compared(
    detector: str,
    subject: str,
    column: ColumnProfile,
    window: Counts,
    sight: Sight,
    parts: Sequence[Sequence[int]],
) -> Measurement:
    """How far a window's histogram over some parts of a column is from the baseline's.

    Args:
        detector: That asks.
        subject: That is measured.
        column: The baseline.
        window: int64 counts over the column's frozen bins.
        sight: Gives the days.
        parts: Coarse groups by index, merged.
    """
    coarse = column.groups
    stretches = merged(stretches_of(column.blocks, column.days, sight.span), parts)
    whole = merged(coarse_counts(coarse, column.sketch.counts), parts)
    now = merged(coarse_counts(coarse, window), parts)
    pooled = stretches.sum(axis=0)
    # Of the same days of the week, where those are known and are not all there is.
    before = pooled if len(stretches) >= 2 else whole
    statistic, p_chance = g_test(before, now)
    return Measurement(
        detector=detector,
        subject=subject,
        effect=jensen_shannon_distance(before, now),
        own=jensen_shannon_distances(pooled - stretches, stretches),
        memory=Memory.of(stretches),
        noise=sampling_spread(before, now),
        statistic=statistic,
        p_chance=p_chance,
        baseline_rows=int(before.sum()),
        window_rows=int(now.sum()),
        bins=_bins(column, coarse, window) if len(parts) > 2 else (),
        course=None
        if column.days is None
        else Course.of(stretches, now, int(column.days[-1]), sight.span),
    )


def _bins(column: ColumnProfile, coarse: Counts, window: Counts) -> tuple[HistogramBin, ...]:
    return labelled_bins(
        coarse,
        column.sketch.bins.labels,
        coarse_counts(coarse, column.sketch.counts),
        coarse_counts(coarse, window),
    )
