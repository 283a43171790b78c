"""Frozen-bin integer histograms: the shape of a column, exact, mergeable, replayable.

The bins are laid down once, on a baseline, and never move. After that a column is a vector of
int64 counts: two windows merge by addition, in any order, to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Counts: TypeAlias = npt.NDArray[np.int64]
Column: TypeAlias = npt.NDArray[Any] | Sequence[object] | pa.Array | pa.ChunkedArray
Json: TypeAlias = Mapping[str, Any]  # Any: the parsed content of a file

NUMERIC_BINS = 256
CATEGORY_LIMIT = 255
COARSE_BINS = 20
BLOCK_S = 86_400


class BinMismatch(ValueError):
    """Two sketches that were to be added or compared don't share their bins."""


class BinKind(StrEnum):
    """What a column holds."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True)
class FrozenBins:
    """Where the bins of one column lie.

    Numeric: `edges` e_0 < ... < e_k make the bins below [-inf, e_0), k half-open bins
    [e_i, e_i+1), above [e_k, inf], and missing (NaN, null), in this order.
    Categorical: one bin per entry of `categories`, then other, then missing ('' or null).
    """

    kind: BinKind
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind is BinKind.NUMERIC and self.categories:
            raise ValueError("numeric bins have edges, not categories")
        if self.kind is BinKind.CATEGORICAL and self.edges:
            raise ValueError("categorical bins have categories, not edges")
        if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must ascend strictly")

    @classmethod
    def numeric(cls, baseline: Column, bins: int = NUMERIC_BINS) -> Self:
        """Bins that each hold about the same share of `baseline`.

        A column with at most `bins` distinct values gets one bin per value. A baseline without
        a finite value gets no bin but below, above and missing.
        """
        values = floats_of(baseline)
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(BinKind.NUMERIC, edges=(0.0,))
        lower = np.unique(values)
        if lower.size > bins:
            quantiles = np.quantile(values, np.linspace(0, 1, bins + 1), method="inverted_cdf")
            lower = np.unique(quantiles)
        top = np.nextafter(lower[-1], np.inf)
        return cls(BinKind.NUMERIC, edges=(*lower.tolist(), float(top)))

    @classmethod
    def categorical(cls, baseline: Column, limit: int = CATEGORY_LIMIT) -> Self:
        """The `limit` most frequent values of `baseline`, most frequent first, ties by name."""
        counted = pc.value_counts(_strings(baseline))
        pairs = [
            (row["values"], row["counts"])
            for row in counted.to_pylist()
            if row["values"] is not None and row["values"] != ""
        ]
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))
        return cls(BinKind.CATEGORICAL, categories=tuple(name for name, _ in pairs[:limit]))

    @property
    def size(self) -> int:
        """Number of bins, those for below, above, other and missing included."""
        return len(self.edges) + 2 if self.kind is BinKind.NUMERIC else len(self.categories) + 2

    @property
    def missing(self) -> int:
        """Index of the bin of missing values."""
        return self.size - 1

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, for people, in the order of the counts."""
        if self.kind is BinKind.CATEGORICAL:
            return (*self.categories, "(other)", "(missing)")
        spans = (f"[{a:.6g}, {b:.6g})" for a, b in zip(self.edges, self.edges[1:], strict=False))
        return (f"< {self.edges[0]:.6g}", *spans, f">= {self.edges[-1]:.6g}", "(missing)")

    def counts(self, values: Column) -> Counts:
        """int64 [size]: how many of `values` fall into each bin."""
        if self.kind is BinKind.NUMERIC:
            return self._numeric_counts(values)
        return np.bincount(self.indices(values), minlength=self.size).astype(np.int64)

    def indices(self, values: Column) -> Counts:
        """int64 [n]: the bin of each of `values`."""
        if self.kind is BinKind.NUMERIC:
            return self._numeric_indices(values)
        return self._categorical_indices(values)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it. Floats survive the trip exactly."""
        return {
            "kind": self.kind.value,
            "edges": list(self.edges),
            "categories": list(self.categories),
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        return cls(
            BinKind(document["kind"]),
            tuple(float(edge) for edge in document["edges"]),
            tuple(str(category) for category in document["categories"]),
        )

    @cached_property
    def _edge_array(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.edges, dtype=np.float64)

    @cached_property
    def _upper_ends(self) -> npt.NDArray[np.float64]:
        """Where each numeric bin ends, but for that of missing values."""
        return np.append(self._edge_array, np.nan)

    @cached_property
    def _category_array(self) -> pa.Array:
        return pa.array(self.categories, type=pa.string())

    def _numeric_counts(self, values: Column) -> Counts:
        # To sort and to look the edges up takes a tenth of the time of looking each value up.
        ascending = np.sort(floats_of(values))
        # Missing ones sort last.
        until = np.searchsorted(ascending, self._upper_ends)
        counts = np.empty(self.size, np.int64)
        counts[0], counts[-1] = until[0], ascending.size - until[-1]
        counts[1:-1] = until[1:] - until[:-1]
        return counts

    def _numeric_indices(self, values: Column) -> Counts:
        floats = floats_of(values)
        indices = np.searchsorted(self._edge_array, floats, side="right").astype(np.int64)
        indices[np.isnan(floats)] = self.missing
        return indices

    def _categorical_indices(self, values: Column) -> Counts:
        strings = _strings(values)
        found = pc.index_in(strings, value_set=self._category_array)
        indices = np.array(
            pc.fill_null(found, len(self.categories)).to_numpy(zero_copy_only=False),
            dtype=np.int64,
        )
        missing = pc.fill_null(pc.equal(strings, ""), True).to_numpy(zero_copy_only=False)
        indices[missing] = self.missing
        return indices


@dataclass(eq=False)
class Sketch:
    """How often each bin of one column was hit. Owns `counts`, int64 [bins.size]."""

    bins: FrozenBins
    counts: Counts

    def __post_init__(self) -> None:
        if self.counts.shape != (self.bins.size,):
            raise BinMismatch(f"{self.counts.shape} counts for {self.bins.size} bins")

    @classmethod
    def empty(cls, bins: FrozenBins) -> Self:
        """A sketch that has counted nothing yet."""
        return cls(bins, np.zeros(bins.size, dtype=np.int64))

    @classmethod
    def of(cls, bins: FrozenBins, values: Column) -> Self:
        """The sketch of `values` over `bins`."""
        return cls(bins, bins.counts(values))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return self.bins == other.bins and bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]  # counts change

    @property
    def n(self) -> int:
        """Values counted, missing ones included."""
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        """Missing values counted."""
        return int(self.counts[self.bins.missing])

    def update(self, values: Column) -> None:
        """Count `values` as well."""
        self.counts += self.bins.counts(values)

    def merge(self, other: Sketch) -> Sketch:
        """A new sketch of both.

        Raises:
            BinMismatch: The two were not laid over the same bins.
        """
        if self.bins != other.bins:
            raise BinMismatch("the sketches have different bins")
        return Sketch(self.bins, self.counts + other.counts)

    def coarse_groups(self, limit: int = COARSE_BINS) -> Counts:
        """int64 [bins.size]: which of about `limit` coarser bins each bin belongs to.

        Neighbouring numeric bins are pooled until each group holds 1/limit of this sketch;
        categories below that share are pooled into one. Below, above, other and missing stay
        apart. A function of this sketch's counts alone, so all who hold it agree.
        """
        inner = slice(1, -2) if self.bins.kind is BinKind.NUMERIC else slice(0, -2)
        counts = self.counts[inner]
        share = counts / max(int(counts.sum()), 1)
        if self.bins.kind is BinKind.NUMERIC:
            reached = np.cumsum(share) - share / 2
            inner_groups = np.minimum((reached * limit).astype(np.int64), limit - 1)
        else:
            own = share >= 1 / (2 * limit)
            inner_groups = np.where(own, np.cumsum(own), 0)
        groups = np.empty(self.bins.size, dtype=np.int64)
        outside = np.ones(self.bins.size, dtype=np.bool_)
        outside[inner] = False
        groups[inner] = np.unique(inner_groups, return_inverse=True)[1]
        first = int(groups[inner].max(initial=-1)) + 1
        groups[outside] = first + np.arange(int(outside.sum()))
        return groups

    def to_json(self) -> dict[str, Any]:
        """The bins and the counts, as `from_json` reads them."""
        return {"bins": self.bins.to_json(), "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        return cls(
            FrozenBins.from_json(document["bins"]),
            np.asarray(document["counts"], dtype=np.int64),
        )


def coarse_counts(groups: Counts, counts: Counts) -> Counts:
    """int64 [groups]: `counts` pooled by `Sketch.coarse_groups`."""
    return np.bincount(groups, weights=counts, minlength=int(groups.max()) + 1).astype(np.int64)


def block_counts(sketch: Sketch, values: Column, time_us: npt.NDArray[np.int64]) -> Counts:
    """int64 [days, groups]: coarse counts of `values` per day of event time, in time order.

    Args:
        sketch: The baseline that lays down the groups.
        values: One column, in any order.
        time_us: int64 [n], event time of each value, microseconds since the epoch.
    """
    indices = sketch.coarse_groups()[sketch.bins.indices(values)]
    groups = int(sketch.coarse_groups().max()) + 1
    days, day = np.unique(np.asarray(time_us) // (BLOCK_S * 1_000_000), return_inverse=True)
    flat = np.bincount(day * groups + indices, minlength=days.size * groups)
    return flat.reshape(days.size, groups).astype(np.int64)


def floats_of(values: Column) -> npt.NDArray[np.float64]:
    """float64 [n]: numbers of any kind; NaN where there is none."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        numbers = pc.fill_null(pc.cast(values, pa.float64()), float("nan"))
        return np.asarray(numbers.to_numpy(), dtype=np.float64)
    return np.asarray(values, dtype=np.float64)


def _strings(values: Column) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(pa.string())
    return pa.array([None if value is None else str(value) for value in values], type=pa.string())
