"""Which features the scores follow, beside those that they followed on held-out rows of training.

A feature's attribution is how much of the scores' variance it explains alone: the first-order
index Var(E[score | group of the feature]) / Var(score) (Sobol, Math. Model. Comput. Exp., 1993),
from rows as they come (Plischke, Borgonovo and Smith, Eur. J. Oper. Res., 2013). It needs no
model. No alarm comes of it, and so no budget is spent on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from services.common.sketches import Counts
from services.monitor.core.detectors.port import Sight
from services.monitor.core.histograms import Floats
from services.monitor.core.resources import (
    AttributionDrift,
    AttributionPoint,
    DriftReport,
    DriftTest,
)

FEWEST_ROWS: Final = 100
"""With a score, in training and in the window: of fewer nothing is told."""

MOST_POINTS: Final = 100
"""That are told of one window."""

_ERROR: Final = 0.05
"""Chance that the half width of any feature is too small, over all of a window."""

_KEY: Final = "attribution"


def attribution_drift(
    sight: Sight, earlier: Sequence[DriftReport], test: DriftTest
) -> AttributionDrift | None:
    """What the scores of one window follow; None where either sample can't say.

    Args:
        sight: The window.
        earlier: Reports on the windows before, against the same baseline.
        test: What counts of single columns.
    """
    held_out = sight.baseline.held_out
    if held_out is None:
        return None
    before = sight.of_baseline(
        _KEY, lambda: _explained(sight, held_out.rows.codes, held_out.scores)
    )
    now = _explained(sight, sight.sample.codes, sight.sample.scores)
    if before is None or now is None:
        return None
    half_widths = differences_half_widths(before, now)
    difference = np.abs(now.ratios - before.ratios)
    moved = (difference >= test.effect_floor) & (difference > half_widths)
    names = list(sight.baseline.features)
    known = _earlier_hits(earlier)
    hits = np.array([known[name] for name in names], np.int64) + moved
    lasts = moved & (hits >= test.persistence_hits)
    order = np.lexsort((-difference, ~moved, ~lasts))[:MOST_POINTS].tolist()
    return AttributionDrift(
        baseline_rows=before.rows,
        window_rows=now.rows,
        measured=len(names),
        moved=int(moved.sum()),
        lasting=int(lasts.sum()),
        points=tuple(
            AttributionPoint(
                feature=names[place],
                baseline=float(before.ratios[place]),
                window=float(now.ratios[place]),
                half_width=float(half_widths[place]),
                moved=bool(moved[place]),
                hits=int(hits[place]),
                lasts=bool(lasts[place]),
            )
            for place in order
        ),
    )


@dataclass(frozen=True, slots=True)
class Explained:
    """How much of the scores' variance each feature explains alone, in one sample.

    Attributes:
        rows: With a score.
        squares: float64 [features], below 0 where chance alone would bring about more.
        errors: float64 [features], their standard errors if the rows are independent.
    """

    rows: int
    squares: Floats
    errors: Floats

    @property
    def ratios(self) -> Floats:
        """float64 [features]: the correlation ratio, 0 (nothing) to 1 (all)."""
        return _root(self.squares)

    @classmethod
    def of(cls, groups: Counts, scores: Floats) -> Self:
        """From rows.

        The square is that of Kelley (PNAS, 1935), which takes off what groups explain by chance.
        Its error is by the influence function of 1 - E[(s - m_g)^2] / Var(s), where m_g is the
        mean of a row's group. Where a feature explains nothing the variance 2 (groups - 1) of a
        chi-squared sum of squares is left, which that function does not see; that means are
        taken from the same rows has it show twice as much everywhere: so one of the two goes.

        Args:
            groups: int64 [rows, features], of each value; fewer in a column than there are rows.
            scores: float64 [rows], finite and not all the same.
        """
        rows, features = groups.shape
        width = int(groups.max()) + 1
        cells = groups + np.arange(features) * width
        size = features * width
        in_cell = np.bincount(cells.ravel(), minlength=size)
        sums = np.bincount(cells.ravel(), np.repeat(scores, features), size)
        means = sums / np.maximum(in_cell, 1)
        filled = (in_cell.reshape(features, width) > 0).sum(axis=1)
        from_all = (scores - scores.mean()) ** 2
        from_group = (scores[:, None] - means[cells]) ** 2
        variance = from_all.sum() / (rows - 1)
        unexplained = from_group.sum(axis=0) / (rows - filled) / variance
        influence = unexplained * from_all[:, None] * (rows / (rows - 1) / variance)
        influence -= from_group * (rows / (rows - filled) / variance)
        chance = 2 * (filled - 1) * (unexplained / rows) ** 2
        errors = np.sqrt(np.maximum((influence**2).mean(axis=0) / rows - chance, chance))
        return cls(rows, 1 - unexplained, errors)


def differences_half_widths(first: Explained, second: Explained) -> Floats:
    """float64 [features]: how far the difference of the ratios is known, for all together (95 %).

    The side towards no difference, put together from the limits of either ratio (Zou and Donner,
    Stat. Med., 2008). Those are the roots of the squares' limits: a root's own error has no
    bound near 0.
    """
    deviations = -ndtri(_ERROR / 2 / max(first.squares.size, 1))
    low_first, high_first = _limits(first, deviations)
    low_second, high_second = _limits(second, deviations)
    rising = np.hypot(second.ratios - low_second, high_first - first.ratios)
    falling = np.hypot(first.ratios - low_first, high_second - second.ratios)
    return np.where(second.ratios >= first.ratios, rising, falling)


def _limits(explained: Explained, deviations: float) -> tuple[Floats, Floats]:
    margin = deviations * explained.errors
    return _root(explained.squares - margin), _root(explained.squares + margin)


def _root(squares: Floats) -> Floats:
    return np.asarray(np.sqrt(np.clip(squares, 0.0, 1.0)))


def _explained(sight: Sight, codes: Counts, scores: npt.NDArray[np.float32]) -> Explained | None:
    told = np.isfinite(scores)
    usable = scores[told].astype(np.float64)
    columns = sight.baseline.features.values()
    if not columns or usable.size < FEWEST_ROWS or usable.min() == usable.max():
        return None
    groups = [column.groups[bins] for column, bins in zip(columns, codes[told].T, strict=True)]
    return Explained.of(np.stack(groups, axis=1), usable)


def _earlier_hits(earlier: Sequence[DriftReport]) -> Counter[str]:
    return Counter(
        point.feature
        for report in earlier
        if report.attributions is not None
        for point in report.attributions.points
        if point.moved
    )
