"""Measures histograms of a window against their baselines'; most detectors are a choice of bins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.profiles import ColumnProfile
from services.common.sketches import BinKind, Counts, coarse_counts
from services.monitor.core.course import Course
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.histograms import (
    Floats,
    g_tests,
    group_names,
    jensen_shannon_distances,
    sampling_spreads,
)
from services.monitor.core.memory import Cut, Memory
from services.monitor.core.resources import HistogramBin
from services.monitor.core.wander import Span, stretches_of

OUTSIDE_NUMERIC: Final = 3
"""Coarse groups beside a numeric column's own: below, above and missing, the last ones."""

OUTSIDE_CATEGORICAL: Final = 2
"""Coarse groups beside a categorical column's own: other and missing, the last ones."""

Parts: TypeAlias = Sequence[Sequence[int]]
"""Coarse groups of a column by index, merged; groups of no part are left out."""

Columns: TypeAlias = Mapping[str, ColumnProfile]
"""By subject."""


def is_numeric(column: ColumnProfile) -> bool:
    """Whether it holds numbers."""
    return column.sketch.bins.kind is BinKind.NUMERIC


def numeric_features(sight: Sight) -> Columns:
    """The features that hold numbers."""
    features = sight.baseline.features
    return {name: column for name, column in features.items() if is_numeric(column)}


def categorical_features(sight: Sight) -> Columns:
    """The features that hold strings."""
    features = sight.baseline.features
    return {name: column for name, column in features.items() if not is_numeric(column)}


def all_but_missing(column: ColumnProfile) -> Parts:
    """Each coarse group, but for that of missing values."""
    return [[group] for group in range(column.group_count - 1)]


def compared(
    detector: str,
    sight: Sight,
    columns: Columns,
    windows: Mapping[str, Counts],
    parts_of: Callable[[ColumnProfile], Parts],
) -> Iterator[Measurement]:
    """How far windows' histograms over some parts of each column are from the baseline's.

    Columns with as many parts are measured at once, each to the same bits as alone.

    Args:
        detector: That asks.
        sight: Gives the days.
        columns: The baseline's; the same ones whenever this detector asks.
        windows: int64 counts over the columns' frozen bins, by subject.
        parts_of: Of each column.
    """
    references = sight.of_baseline(
        (detector, sight.span.season), lambda: _references(columns, parts_of, sight.span)
    )
    found = {
        each.subject: each
        for reference in references
        for each in reference.measured(detector, windows, sight.span)
    }
    return (found[subject] for subject in columns)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one column before any window.

    Attributes:
        own: float64 [stretches], the effects of the baseline's own stretches.
        names: Of the coarse groups; none if only parts of them are compared.
        whole: Baseline's count of each of these groups.
    """

    subject: str
    own: Floats
    cut: Cut
    memory: Memory
    rows: int
    last_day: int | None
    names: tuple[str, ...]
    whole: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Reference:
    """Columns with as many parts and stretches.

    Attributes:
        columns: In order.
        stretches: int64 [columns, stretches, parts].
        before: int64 [columns, parts], what the windows are held against.
        part_of: intp [bins of all columns], which of all columns' parts a bin belongs to; one
            past the last for a bin of no part.
        group_of: intp [bins of all columns], which of all columns' coarse groups.
    """

    columns: tuple[_Known, ...]
    stretches: Counts
    before: Counts
    part_of: npt.NDArray[np.intp]
    group_of: npt.NDArray[np.intp]

    @classmethod
    def of(
        cls, columns: Columns, stretches: Sequence[Counts], parts: Sequence[Parts], span: Span
    ) -> Self:
        """Of columns, the coarse counts of their stretches, and their parts."""
        each = list(columns.values())
        width = len(parts[0])
        part_of = [_part_of_group(*pair) for pair in zip(each, parts, strict=True)]
        coarse = [coarse_counts(column.groups, column.sketch.counts) for column in each]
        cut, whole = (
            np.stack([_merged(*pair, width) for pair in zip(counts, part_of, strict=True)])
            for counts in (stretches, coarse)
        )
        pooled = cut.sum(axis=1)
        # Of the same days of the week, where those are known and are not all there is.
        before = pooled if cut.shape[1] >= 2 else whole
        own = jensen_shannon_distances(
            (pooled[:, None] - cut).reshape(-1, width), cut.reshape(-1, width)
        ).reshape(cut.shape[:2])
        memories = [
            Memory.of(
                _merged(column.blocks, part_of[place], width),
                _days(column),
                cut[place],
                span.cut(column.days),
            )
            for place, column in enumerate(each)
        ]
        known = tuple(
            _Known(
                subject,
                own[place],
                span.cut(column.days),
                memories[place],
                int(before[place].sum()),
                None if column.days is None else int(column.days[-1]),
                group_names(column.groups, column.sketch.bins.labels) if width > 2 else (),
                tuple(coarse[place].tolist()),
            )
            for place, (subject, column) in enumerate(columns.items())
        )
        starts = np.cumsum([0, *(counts.size for counts in coarse)])
        return cls(
            known,
            cut,
            before,
            np.concatenate(
                [
                    np.where(part < 0, before.size, part + place * width)[column.groups]
                    for place, (column, part) in enumerate(zip(each, part_of, strict=True))
                ]
            ),
            np.concatenate(
                [column.groups + start for column, start in zip(each, starts, strict=False)]
            ),
        )

    def measured(
        self, detector: str, windows: Mapping[str, Counts], span: Span
    ) -> Iterator[Measurement]:
        """Each column's measurement."""
        fine = np.concatenate([windows[each.subject] for each in self.columns])
        now = np.bincount(self.part_of, weights=fine, minlength=self.before.size + 1)[:-1]
        now = now.astype(np.int64).reshape(self.before.shape)
        effects = jensen_shannon_distances(self.before, now).tolist()
        noises = sampling_spreads(self.before, now).tolist()
        statistics, p_chances = (each.tolist() for each in g_tests(self.before, now))
        rows = now.sum(axis=1).tolist()
        bins = self._bins(fine)
        for place, known in enumerate(self.columns):
            yield Measurement(
                detector=detector,
                subject=known.subject,
                effect=effects[place],
                own=known.own,
                cut=known.cut,
                memory=known.memory,
                noise=noises[place],
                statistic=statistics[place],
                p_chance=p_chances[place],
                baseline_rows=known.rows,
                window_rows=rows[place],
                bins=next(bins),
                course=None
                if known.last_day is None
                else Course.of(self.stretches[place], now[place], known.last_day, span),
            )

    def _bins(self, fine: Counts) -> Iterator[tuple[HistogramBin, ...]]:
        """Both histograms of each column; none of columns of which only parts are compared."""
        counts = iter(np.bincount(self.group_of, weights=fine).astype(np.int64).tolist())
        for known in self.columns:
            now = list(islice(counts, len(known.whole)))
            yield tuple(map(HistogramBin, known.names, known.whole, now))


def _references(
    columns: Columns, parts_of: Callable[[ColumnProfile], Parts], span: Span
) -> tuple[_Reference, ...]:
    alike: dict[tuple[int, int], list[tuple[str, Counts, Parts]]] = {}
    for subject, column in columns.items():
        stretches, parts = stretches_of(column.blocks, column.days, span), parts_of(column)
        alike.setdefault((len(parts), len(stretches)), []).append((subject, stretches, parts))
    return tuple(
        _Reference.of(
            {subject: columns[subject] for subject, _, _ in found},
            [stretches for _, stretches, _ in found],
            [parts for _, _, parts in found],
            span,
        )
        for found in alike.values()
    )


def _days(column: ColumnProfile) -> tuple[int, ...]:
    """Of its blocks; where they are not known, one after the other."""
    return tuple(range(len(column.blocks)) if column.days is None else column.days.tolist())


def _part_of_group(column: ColumnProfile, parts: Parts) -> npt.NDArray[np.intp]:
    """intp [groups]: the part of each group; -1 for a group of none."""
    part_of = np.full(column.group_count, -1)
    for place, part in enumerate(parts):
        part_of[list(part)] = place
    return part_of


def _merged(counts: Counts, part_of: npt.NDArray[np.intp], parts: int) -> Counts:
    """int64 [..., parts]: the counts, int64 [..., groups], of each part's groups added up."""
    merged: Counts = counts @ (part_of[:, None] == np.arange(parts)).astype(np.int64)
    return merged
