"""A few whole rows of a window, the same ones in whatever order its rows come."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.common.profiles import days_of, sample_rows
from services.common.sketches import BinKind, Counts, FrozenBins


@dataclass(frozen=True)
class WindowSample:
    """Some whole rows of a window.

    Attributes:
        names: Of the columns.
        codes: int64 [rows, columns], the bin of each value.
        values: float64 [rows, columns], the numbers themselves; NaN where there is none.
        days: int64 [rows], day of event time since the epoch.
        scores: float32 [rows].
    """

    names: tuple[str, ...]
    codes: Counts
    values: npt.NDArray[np.float64]
    days: Counts
    scores: npt.NDArray[np.float32]

    @cached_property
    def finite(self) -> Counts:
        """int64 [columns]: how many of each column's values are numbers, and not infinite."""
        return np.asarray(np.isfinite(self.values).sum(axis=0))

    @cached_property
    def ascending(self) -> npt.NDArray[np.float64]:
        """float64 [columns, rows]: each column's finite numbers in order, then NaN."""
        numbers = np.where(np.isfinite(self.values), self.values, np.nan)
        return np.sort(np.ascontiguousarray(numbers.T), axis=1)


class RowSampler:
    """Keeps the rows whose prediction ids have the smallest checksums.

    A bottom-k sample (Cohen and Kaplan, PODC 2007): uniform over ids, the same for any order
    and any batches, and two of them merge.

    Args:
        bins: Of each column.
    """

    def __init__(self, bins: Mapping[str, FrozenBins]) -> None:
        self._bins = bins
        self._capacity = sample_rows(len(bins))
        self._keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._codes: Counts = np.empty((0, len(bins)), np.int64)
        self._values: npt.NDArray[np.float64] = np.empty((0, len(bins)))
        self._days: Counts = np.empty(0, np.int64)
        self._scores: npt.NDArray[np.float32] = np.empty(0, np.float32)

    def observe(self, rows: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> None:
        """Take these rows into account.

        Args:
            rows: With `prediction_id`, `event_time` and `score`.
            columns: The readable features of `rows`; one that lacks counts as missing.
        """
        keys = np.array(
            [_key(each) for each in rows.column("prediction_id").to_pylist()], np.uint64
        )
        limit = self._keys[-1] if self._keys.size == self._capacity else np.uint64(2**64 - 1)
        chosen = np.flatnonzero(keys <= limit)
        if not self._bins or not chosen.size:
            return
        chosen = chosen[np.argsort(keys[chosen], kind="stable")][: self._capacity]
        codes, values = self._encoded(columns, chosen)
        times = rows.column("event_time").take(pa.array(chosen)).cast(pa.int64()).to_numpy()
        scores = rows.column("score").to_numpy()[chosen]
        keys = np.concatenate([self._keys, keys[chosen]])
        kept = np.argsort(keys, kind="stable")[: self._capacity]
        self._keys = keys[kept]
        self._codes = np.concatenate([self._codes, codes])[kept]
        self._values = np.concatenate([self._values, values])[kept]
        self._days = np.concatenate([self._days, days_of(times)])[kept]
        self._scores = np.concatenate([self._scores, scores])[kept]

    def sample(self) -> WindowSample:
        """The rows kept so far, in the order of their checksums."""
        return WindowSample(tuple(self._bins), self._codes, self._values, self._days, self._scores)

    def _encoded(
        self, columns: Mapping[str, pa.ChunkedArray], chosen: npt.NDArray[np.intp]
    ) -> tuple[Counts, npt.NDArray[np.float64]]:
        codes = np.empty((chosen.size, len(self._bins)), np.int64)
        values = np.full((chosen.size, len(self._bins)), np.nan)
        for place, (name, bins) in enumerate(self._bins.items()):
            if name not in columns:
                codes[:, place] = bins.missing
                continue
            column = columns[name].take(pa.array(chosen))
            codes[:, place] = bins.indices(column)
            if bins.kind is BinKind.NUMERIC:
                numbers = pc.fill_null(pc.cast(column, pa.float64()), float("nan"))
                values[:, place] = numbers.to_numpy()
        return codes, values


def _key(prediction: str) -> int:
    # Sequential ids have checksums with a pattern; multiplied, they have none that matters.
    content = prediction.encode()
    return (zlib.crc32(content) * 0x9E3779B97F4A7C15 + zlib.adler32(content)) % 2**64
