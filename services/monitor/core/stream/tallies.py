"""What one version predicted in one window, counted as the rows come in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.common.profiles import Profile
from services.common.sketches import BinKind, Column, Sketch, floats_of
from services.monitor.core.quality import UNKNOWN
from services.monitor.core.stream.batches import FEATURE_PREFIX
from services.monitor.core.stream.samples import RowSampler
from services.monitor.core.stream.slicing import SliceCodes, SliceTally

ScalarT = TypeVar("ScalarT", bound=np.generic)

_FIRST_ROWS: Final = 256
_MOST_STRANGERS: Final = 1000


class Tally:
    """One version's predictions in one window. Owns its arrays.

    Args:
        profile: Baseline whose bins the features are counted over; None counts no feature.
        slices: Features whose values slice.

    Attributes:
        slices: Which rows are in which slice.
        by_slice: What they hold there; None without a baseline.
        strangers: Rows that have a value of a feature that the profile has not, by its name.
    """

    def __init__(self, profile: Profile | None, slices: tuple[str, ...] = ()) -> None:
        self.profile = profile
        self.slices = SliceCodes(slices)
        self.features = (
            {name: Sketch.empty(column.sketch.bins) for name, column in profile.features.items()}
            if profile
            else {}
        )
        self.by_slice = SliceTally(profile, slices) if profile else None
        self.score = Sketch.empty(profile.score.sketch.bins) if profile else None
        self.sampler = RowSampler({name: sketch.bins for name, sketch in self.features.items()})
        self.unreadable = dict.fromkeys(self.features, 0)
        self.strangers: dict[str, int] = {}
        self.rows = 0
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._scores: npt.NDArray[np.float32] = np.empty(_FIRST_ROWS, np.float32)
        self._labels: npt.NDArray[np.int8] = np.empty(_FIRST_ROWS, np.int8)
        self._event_us: npt.NDArray[np.int64] = np.empty(_FIRST_ROWS, np.int64)
        self._outcome_us: npt.NDArray[np.int64] = np.empty(_FIRST_ROWS, np.int64)

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """float32 [rows], in the order of arrival."""
        return self._scores[: self.rows]

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """int8 [rows]: the outcome, or `UNKNOWN`."""
        return self._labels[: self.rows]

    @property
    def event_us(self) -> npt.NDArray[np.int64]:
        """int64 [rows]: event time, microseconds since the epoch."""
        return self._event_us[: self.rows]

    @property
    def begins_us(self) -> int:
        """Event time of the first prediction, microseconds since the epoch; 0 without one."""
        return self._first_us or 0

    @property
    def span(self) -> timedelta:
        """Event time from the first prediction to the last: a window may be served in part."""
        if self._first_us is None or self._last_us is None:
            return timedelta()
        return timedelta(microseconds=self._last_us - self._first_us)

    def observe(self, rows: pa.Table) -> int:
        """Count predictions that are new, at least one; gives the index of the first.

        A feature that the baseline has and `rows` has not, or has with another type, counts
        as missing and as unreadable.
        """
        columns: dict[str, pa.ChunkedArray] = {}
        values: dict[str, Column] = {}
        # Asked for its columns, a table names them all: once, not once for each feature.
        sent = dict(zip(rows.column_names, rows.columns, strict=True))
        for name, sketch in self.features.items():
            column = _readable(sent.get(FEATURE_PREFIX + name), sketch.bins.kind)
            if column is None:
                sketch.counts[sketch.bins.missing] += rows.num_rows
                self.unreadable[name] += rows.num_rows
                continue
            columns[name] = column
            readable = floats_of(column) if sketch.bins.kind is BinKind.NUMERIC else column
            sketch.update(readable)
            # Of a thousand features a batch's numbers are many: kept where something slices alone.
            if self.by_slice is not None and self.by_slice.sketches:
                values[name] = readable
        self._count_strangers(sent)
        self.slices.observe(rows)
        self.sampler.observe(rows, columns)
        self._extend_span(rows.column("event_time"))
        scores = rows.column("score").to_numpy()
        if self.score is not None:
            self.score.update(scores)
        if self.by_slice is not None:
            self.by_slice.observe(sent, values, scores)
        first, end = self.rows, self.rows + rows.num_rows
        self._reserve(end)
        self._scores[first:end] = scores
        self._labels[first:end] = UNKNOWN
        self._event_us[first:end] = rows.column("event_time").cast(pa.int64()).to_numpy()
        self._outcome_us[first:end] = np.iinfo(np.int64).min
        self.rows = end
        return first

    def learn(self, index: int, outcome: int, time_us: int) -> None:
        """Note what came true, unless a later outcome is known already."""
        if time_us >= self._outcome_us[index]:
            self._labels[index] = outcome
            self._outcome_us[index] = time_us

    def _count_strangers(self, sent: Mapping[str, pa.ChunkedArray]) -> None:
        for column, values in sent.items():
            name = column.removeprefix(FEATURE_PREFIX)
            if name == column or name in self.features:
                continue
            rows = len(values) - values.null_count
            if rows and (name in self.strangers or len(self.strangers) < _MOST_STRANGERS):
                self.strangers[name] = self.strangers.get(name, 0) + rows

    def _extend_span(self, times: pa.ChunkedArray) -> None:
        bounds = pc.min_max(times.cast(pa.int64())).as_py()
        first, last = bounds["min"], bounds["max"]
        self._first_us = first if self._first_us is None else min(first, self._first_us)
        self._last_us = last if self._last_us is None else max(last, self._last_us)

    def _reserve(self, rows: int) -> None:
        if rows <= self._scores.size:
            return
        size = max(rows, 2 * self._scores.size)
        self._scores = _grown(self._scores, size)
        self._labels = _grown(self._labels, size)
        self._event_us = _grown(self._event_us, size)
        self._outcome_us = _grown(self._outcome_us, size)


def _readable(column: pa.ChunkedArray | None, kind: BinKind) -> pa.ChunkedArray | None:
    if column is None:
        return None
    return column if pa.types.is_string(column.type) is (kind is BinKind.CATEGORICAL) else None


def _grown(values: npt.NDArray[ScalarT], size: int) -> npt.NDArray[ScalarT]:
    larger = np.empty(size, values.dtype)
    larger[: values.size] = values
    return larger
