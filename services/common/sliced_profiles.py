"""Counts what a version was trained on slice by slice."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.profiles import ColumnProfile
from services.common.sketches import Column, FrozenBins
from services.common.slice_sketches import (
    MAX_SLICE_VALUES,
    MAX_SLICING,
    SliceSketches,
    add_rows,
)


def slice_sketches(
    features: Mapping[str, ColumnProfile],
    columns: Mapping[str, Column],
    sliced_by: Mapping[str, Column],
    *,
    score: ColumnProfile,
    scores: Column,
    scores_sliced_by: Mapping[str, Column],
) -> dict[str, SliceSketches]:
    """The features and the score slice by slice, for the first `MAX_SLICING` of those that slice.

    Args:
        features: Lay down the groups.
        columns: The same rows' values.
        sliced_by: Strings by which these rows are sliced; the values that most of them have
            become slices.
        score: Lays down the groups of the score.
        scores: Of the rows that it was counted on, which may be others.
        scores_sliced_by: As `sliced_by`, of the rows of `scores`.
    """
    groups = {name: column.groups_of(columns[name]) for name, column in features.items()}
    widths = {name: column.group_count for name, column in features.items()}
    score_groups = score.groups_of(scores)
    found = {}
    for slicing in list(sliced_by)[:MAX_SLICING]:
        by = FrozenBins.categorical(sliced_by[slicing], limit=MAX_SLICE_VALUES)
        sketches = SliceSketches.empty(by, widths, score.group_count)
        slices = by.indices(sliced_by[slicing])
        for name, counts in sketches.columns.items():
            add_rows(counts, slices, groups[name])
        add_rows(sketches.score, by.indices(scores_sliced_by[slicing]), score_groups)
        found[slicing] = sketches
    return found
