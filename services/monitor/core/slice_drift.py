"""Where it drifts: in which slices columns are far from the same slices in training.

No alarm comes of it, and so no budget is spent on it: it says where to look. A column stands out
in a slice if it is at least as far from training there as the whole column would have to be for
an alarm, and chance does not explain it; it lasts there if so it did in enough of the last windows.
How far a slice goes by itself the baseline does not say: as far as all rows, it is assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.profiles import ColumnProfile
from services.common.sketches import Counts
from services.common.slice_sketches import SliceSketches
from services.monitor.core.alarms import benjamini_hochberg
from services.monitor.core.detectors.categorical import CategoricalDrift
from services.monitor.core.detectors.numeric import NumericDrift
from services.monitor.core.detectors.port import SCORE, Sight
from services.monitor.core.detectors.predictions import PredictionDrift
from services.monitor.core.histograms import (
    Floats,
    g_tests,
    group_names,
    jensen_shannon_distances,
)
from services.monitor.core.resources import (
    DriftPoint,
    DriftReport,
    DriftTest,
    HistogramBin,
    SliceDrift,
    SlicePoint,
)

FEWEST_ROWS: Final = 50
"""Of a slice, in training and in the window: fewer are not measured."""

MOST_POINTS: Final = 100
"""That are told of one window."""

_Key: TypeAlias = tuple[str, str, str]
"""Feature and value of a slice, and column."""

_DISTRIBUTIONS: Final = {each.name for each in (NumericDrift, CategoricalDrift, PredictionDrift)}


def slice_drift(
    sight: Sight,
    points: Sequence[DriftPoint],
    earlier: Sequence[DriftReport],
    test: DriftTest,
) -> SliceDrift | None:
    """What one window shows slice by slice; None where nothing slices.

    Args:
        sight: The window.
        points: What it shows over all rows.
        earlier: Reports on the windows before, against the same baseline.
        test: What counts over all rows.
    """
    if not sight.slices and not sight.unsliced:
        return None
    needed = {each.feature: each.threshold for each in points if each.algorithm in _DISTRIBUTIONS}
    parts = [_Slices.of(sight, feature, needed, test.effect_floor) for feature in sight.slices]
    excess = np.concatenate([np.empty(0), *(part.excess for part in parts)])
    p_values = np.concatenate([np.empty(0), *(part.p_values for part in parts)])
    q_values = benjamini_hochberg(p_values)
    stands_out = (excess >= 1) & (q_values <= test.false_discovery_rate)
    starts = np.cumsum([0, *(part.effects.size for part in parts)])

    def cell(place: int) -> _Cell:
        part = int(np.searchsorted(starts, place, side="right")) - 1
        return parts[part].cell(place - int(starts[part]))

    before = _earlier_hits(earlier)
    lasts = np.zeros_like(stands_out)
    for place in np.flatnonzero(stands_out).tolist():
        lasts[place] = before[cell(place).key] + 1 >= test.persistence_hits
    order = np.lexsort((-excess, ~stands_out, ~lasts))[:MOST_POINTS].tolist()
    return SliceDrift(
        measured=int(excess.size),
        standing_out=int(stands_out.sum()),
        lasting=int(lasts.sum()),
        points=tuple(
            cell(place).point(
                before,
                q_value=float(q_values[place]),
                stands_out=bool(stands_out[place]),
                lasts=bool(lasts[place]),
            )
            for place in order
        ),
        unsliced=sight.unsliced,
    )


def _earlier_hits(earlier: Sequence[DriftReport]) -> Counter[_Key]:
    return Counter(
        (point.slice_feature, point.slice_value, point.feature)
        for report in earlier
        if report.slices is not None
        for point in report.slices.points
        if point.stands_out
    )


@dataclass(frozen=True, slots=True)
class _Cell:
    """One column in one slice."""

    by: str
    value: str
    name: str
    column: ColumnProfile
    before: Counts
    now: Counts
    effect: float
    needed: float

    @property
    def key(self) -> _Key:
        return self.by, self.value, self.name

    def point(
        self, earlier: Counter[_Key], *, q_value: float, stands_out: bool, lasts: bool
    ) -> SlicePoint:
        """For people."""
        before, now = self.before.tolist(), self.now.tolist()
        names = group_names(self.column.groups, self.column.sketch.bins.labels)
        return SlicePoint(
            slice_feature=self.by,
            slice_value=self.value,
            feature=self.name,
            effect_size=self.effect,
            threshold=self.needed,
            q_value=q_value,
            baseline_rows=sum(before),
            window_rows=sum(now),
            stands_out=stands_out,
            hits=earlier[self.key] + stands_out,
            lasts=lasts,
            bins=tuple(map(HistogramBin, names, before, now)),
        )


@dataclass(frozen=True, slots=True)
class _Slices:
    """The slices of one feature, each with each column, where there are enough rows.

    Attributes:
        of_slice: intp [cells], place of the slice.
        of_column: intp [cells], place of the column.
        before: int64 [cells, groups], training; past a column's own groups there is nothing.
        now: int64 [cells, groups], likewise of the window.
        effects: float64 [cells].
        needed: float64 [cells], effect from which on a column counts.
        p_values: float64 [cells].
    """

    by: str
    values: Sequence[str]
    columns: Sequence[tuple[str, ColumnProfile]]
    of_slice: npt.NDArray[np.intp]
    of_column: npt.NDArray[np.intp]
    before: Counts
    now: Counts
    effects: Floats
    needed: Floats
    p_values: Floats

    @classmethod
    def of(cls, sight: Sight, by: str, needed: Mapping[str, float], floor: float) -> _Slices:
        trained, seen = sight.baseline.slices[by], sight.slices[by]
        columns = [*sight.baseline.features.items(), (SCORE, sight.baseline.score)]
        names = list(sight.baseline.features)
        before, now = _stacked(trained, names), _stacked(seen, names)
        enough = np.minimum(before.sum(axis=2), now.sum(axis=2)) >= FEWEST_ROWS
        of_column, of_slice = np.nonzero(enough)
        before, now = before[enough], now[enough]
        return cls(
            by,
            trained.by.labels,
            columns,
            of_slice,
            of_column,
            before,
            now,
            jensen_shannon_distances(before, now),
            np.array([needed.get(name, floor) for name, _ in columns])[of_column],
            g_tests(before, now)[1],
        )

    @property
    def excess(self) -> Floats:
        """float64 [cells]: the effects in units of what would count."""
        return self.effects / self.needed

    def cell(self, place: int) -> _Cell:
        """One of them."""
        return _Cell(
            self.by,
            self.values[int(self.of_slice[place])],
            *self.columns[int(self.of_column[place])],
            self.before[place],
            self.now[place],
            float(self.effects[place]),
            float(self.needed[place]),
        )


def _stacked(sketches: SliceSketches, names: Sequence[str]) -> Counts:
    """int64 [columns, slices, groups]: the features in this order, then the score."""
    counted = [*(sketches.columns[name] for name in names), sketches.score]
    widest = max(counts.shape[1] for counts in counted)
    stacked = np.zeros((len(counted), sketches.by.size, widest), np.int64)
    for place, counts in enumerate(counted):
        stacked[place, :, : counts.shape[1]] = counts
    return stacked
