"""What a model saw when it was trained: the baseline that travels in its bundle."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.common.sketches import (
    BLOCK_S,
    BinKind,
    Column,
    Counts,
    FrozenBins,
    Json,
    Sketch,
    block_counts,
    floats_of,
)
from services.common.slice_sketches import SliceSketches

SAMPLE_CELLS: Final = 50_000
"""Values that a sample of rows holds, some 200 kB of JSON."""

_MOST_ROWS: Final = 1_000
_FEWEST_ROWS: Final = 250


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the baseline.

    Attributes:
        sketch: The whole baseline.
        blocks: int64 [days, groups], coarse counts per day of event time in time order: how far
            the column moves by itself, without any drift. No row when the baseline has no times.
        days: int64 [days], the day since the epoch of each block; None in profiles of before
            it was kept.
    """

    sketch: Sketch
    blocks: Counts = field(compare=False)
    days: Counts | None = field(default=None, compare=False)

    @cached_property
    def groups(self) -> Counts:
        """int64 [bins]: the coarse group of each bin; see `Sketch.coarse_groups`."""
        return self.sketch.coarse_groups()

    @cached_property
    def group_count(self) -> int:
        """How many coarse groups there are."""
        return int(self.groups.max()) + 1

    @property
    def missing_group(self) -> int:
        """The coarse group of missing values."""
        return int(self.groups[self.sketch.bins.missing])

    def groups_of(self, values: Column) -> Counts:
        """int64 [n]: the coarse group of each of `values`, sooner known than its bin."""
        bins = self.sketch.bins
        if bins.kind is BinKind.CATEGORICAL:
            return self.groups[bins.indices(values)]
        numbers = floats_of(values)
        cuts, after = self._cuts
        place = np.zeros(numbers.size, np.uint8)
        # Some twenty passes take a third of the time of looking each value up in no order.
        for cut in cuts:
            place += numbers >= cut
        groups = after[place]
        groups[np.isnan(numbers)] = self.missing_group
        return groups

    @cached_property
    def _cuts(self) -> tuple[npt.NDArray[np.float64], Counts]:
        """float64 [cuts] and int64 [cuts + 1]: where numeric groups part, and those in between."""
        upper = self.groups[: len(self.sketch.bins.edges) + 1]
        last = np.flatnonzero(upper[:-1] != upper[1:])
        return np.asarray(self.sketch.bins.edges)[last], upper[np.append(last, upper.size - 1)]

    @classmethod
    def of(
        cls, bins: FrozenBins, values: Column, time_us: npt.NDArray[np.int64] | None = None
    ) -> Self:
        """The profile of `values`, whose event times are `time_us`."""
        sketch = Sketch.of(bins, values)
        if time_us is None:
            groups = int(sketch.coarse_groups().max()) + 1
            return cls(sketch, np.zeros((0, groups), dtype=np.int64))
        return cls(sketch, block_counts(sketch, values, time_us), np.unique(days_of(time_us)))

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        days = {} if self.days is None else {"days": self.days.tolist()}
        return {**self.sketch.to_json(), "blocks": self.blocks.tolist(), **days}

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        sketch = Sketch.from_json(document)
        groups = int(sketch.coarse_groups().max()) + 1
        blocks = np.asarray(document["blocks"], dtype=np.int64).reshape(-1, groups)
        return cls(sketch, blocks, _counts(document, "days"))


@dataclass(frozen=True)
class RowSample:
    """Some whole rows, which tell how the columns go together.

    Attributes:
        names: Of the columns.
        codes: int64 [rows, columns], the bin of each value among its column's `FrozenBins`.
        days: int64 [rows], day of event time since the epoch.
    """

    names: tuple[str, ...]
    codes: Counts
    days: Counts

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Column],
        profiles: Mapping[str, ColumnProfile],
        time_us: npt.NDArray[np.int64],
    ) -> Self:
        """At most `sample_rows` of the rows, evenly spaced in event time."""
        return cls.at(_evenly_spaced(time_us, len(columns)), columns, profiles, time_us)

    @classmethod
    def at(
        cls,
        rows: npt.NDArray[np.int64],
        columns: Mapping[str, Column],
        profiles: Mapping[str, ColumnProfile],
        time_us: npt.NDArray[np.int64],
    ) -> Self:
        """Those at these places, int64 [rows]."""
        codes = [
            profiles[name].sketch.bins.indices(_taken(values, rows))
            for name, values in columns.items()
        ]
        return cls(
            tuple(columns),
            np.stack(codes, axis=1) if codes else np.zeros((rows.size, 0), np.int64),
            days_of(time_us[rows]),
        )

    def in_order(self, names: Sequence[str]) -> RowSample:
        """The same rows with the columns in the order of these names.

        Raises:
            ValueError: It has no such column.
        """
        places = [self.names.index(name) for name in names]
        return RowSample(tuple(names), self.codes[:, places], self.days)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "names": list(self.names),
            "codes": self.codes.tolist(),
            "days": self.days.tolist(),
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        names = tuple(document["names"])
        codes = np.asarray(document["codes"], dtype=np.int64).reshape(-1, len(names))
        return cls(names, codes, np.asarray(document["days"], dtype=np.int64))


@dataclass(frozen=True)
class ScoredSample:
    """Some whole rows with what the model says of them.

    Attributes:
        rows: As few as in any sample.
        scores: float32 [rows], as an endpoint answers: the probability of class 1, or a quantity
            in its own unit.
    """

    rows: RowSample
    scores: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Column],
        profiles: Mapping[str, ColumnProfile],
        scores: npt.NDArray[Any],  # any float dtype
        time_us: npt.NDArray[np.int64],
    ) -> Self:
        """At most `sample_rows` of the rows, evenly spaced in event time."""
        rows = _evenly_spaced(time_us, len(columns))
        return cls(
            RowSample.at(rows, columns, profiles, time_us),
            np.asarray(scores[rows], np.float32),
        )

    def in_order(self, names: Sequence[str]) -> ScoredSample:
        """See `RowSample.in_order`."""
        return ScoredSample(self.rows.in_order(names), self.scores)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        # Each is a float64 as well: nothing is lost, whatever the unit.
        return {**self.rows.to_json(), "scores": self.scores.tolist()}

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        return cls(RowSample.from_json(document), np.asarray(document["scores"], np.float32))


@dataclass(frozen=True)
class Profile:
    """The content of a bundle's `profile.json`.

    Attributes:
        features: The training rows' columns, by their raw names.
        score: The model's probability of class 1 on rows it was not trained on.
        label: The true outcome of the training rows.
        n: Rows the features were counted on.
        sample: Some of the training rows; None in profiles of before it was kept.
        reliability: int64 [days, groups, 2], outcomes 0 and 1 of the rows that `score` was
            counted on, by day and by the score's coarse group; None as above.
        slices: Features and score once more, by feature that slices; empty as above.
        held_out: Some of the rows that `score` was counted on; None as above.
    """

    features: Mapping[str, ColumnProfile]
    score: ColumnProfile
    label: ColumnProfile
    n: int
    sample: RowSample | None = field(default=None, compare=False)
    reliability: Counts | None = field(default=None, compare=False)
    slices: Mapping[str, SliceSketches] = field(default_factory=dict, compare=False)
    held_out: ScoredSample | None = field(default=None, compare=False)

    @cached_property
    def worked_out(self) -> dict[Hashable, Any]:
        """What a reader has derived from it and keeps for as long as it is; no part of it."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        later = {
            "sample": None if self.sample is None else self.sample.to_json(),
            "reliability": None if self.reliability is None else self.reliability.tolist(),
            "held_out": None if self.held_out is None else self.held_out.to_json(),
        }
        return {
            **{name: part for name, part in later.items() if part is not None},
            "slices": {name: slices.to_json() for name, slices in self.slices.items()},
            "features": {name: column.to_json() for name, column in self.features.items()},
            "score": self.score.to_json(),
            "label": self.label.to_json(),
            "n": self.n,
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`; samples have the columns in the order of the features."""
        features = {
            name: ColumnProfile.from_json(column) for name, column in document["features"].items()
        }
        names = tuple(features)
        return cls(
            features,
            ColumnProfile.from_json(document["score"]),
            ColumnProfile.from_json(document["label"]),
            int(document["n"]),
            # Objects are written with sorted keys, lists are not.
            sample=RowSample.from_json(document["sample"]).in_order(names)
            if "sample" in document
            else None,
            reliability=_counts(document, "reliability"),
            slices={
                name: SliceSketches.from_json(slices)
                for name, slices in document.get("slices", {}).items()
            },
            held_out=ScoredSample.from_json(document["held_out"]).in_order(names)
            if "held_out" in document
            else None,
        )


def feature_profiles(
    columns: Mapping[str, Column],
    *,
    categorical: Collection[str],
    time_us: npt.NDArray[np.int64] | None,
) -> dict[str, ColumnProfile]:
    """The profile of each of `columns`, over bins laid down on that column itself.

    Args:
        columns: The training rows by raw feature name, all of one length.
        categorical: Names of the columns that hold strings; the others hold numbers.
        time_us: int64 [n], event time of each row, microseconds since the epoch, in any order.
    """
    return {
        name: ColumnProfile.of(
            FrozenBins.categorical(values) if name in categorical else FrozenBins.numeric(values),
            values,
            time_us,
        )
        for name, values in columns.items()
    }


def sample_rows(columns: int) -> int:
    """How many whole rows are kept of this many columns: 250 to 1,000."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, SAMPLE_CELLS // max(columns, 1)))


def days_of(time_us: npt.NDArray[np.int64]) -> Counts:
    """int64 [n]: the day since the epoch of each moment, in microseconds since the epoch."""
    return np.asarray(time_us) // (BLOCK_S * 1_000_000)


def reliability_of(
    score: ColumnProfile,
    scores: npt.NDArray[Any],  # any float dtype
    labels: npt.NDArray[Any],  # any integer dtype
    time_us: npt.NDArray[np.int64],
) -> Counts:
    """int64 [days, groups, 2]: outcomes by day and by the coarse group of the score.

    Args:
        score: Lays down the groups.
        scores: float [n].
        labels: int [n], 0 or 1.
        time_us: int64 [n], event time, microseconds since the epoch.
    """
    coarse = score.sketch.coarse_groups()
    groups = int(coarse.max()) + 1
    days, day = np.unique(days_of(time_us), return_inverse=True)
    flat = (day * groups + coarse[score.sketch.bins.indices(scores)]) * 2 + labels
    counted = np.bincount(flat, minlength=days.size * groups * 2)
    return counted.reshape(days.size, groups, 2).astype(np.int64)


def _evenly_spaced(time_us: npt.NDArray[np.int64], columns: int) -> npt.NDArray[np.int64]:
    """int64 [rows]: places of the rows that a sample of so many columns keeps, in time order."""
    order = np.argsort(time_us, kind="stable")
    kept = np.linspace(0, order.size - 1, min(order.size, sample_rows(columns)))
    return np.asarray(order[kept.astype(np.int64)])


def _taken(values: Column, rows: npt.NDArray[np.int64]) -> Column:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.take(pa.array(rows))
    if isinstance(values, np.ndarray):
        return np.asarray(values[rows])
    return [values[row] for row in rows.tolist()]


def _counts(document: Json, name: str) -> Counts | None:
    return np.asarray(document[name], dtype=np.int64) if name in document else None
