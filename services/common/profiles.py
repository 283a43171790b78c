"""What a model saw when it was trained: the baseline that travels in its bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from services.common.sketches import Column, Counts, FrozenBins, Json, Sketch, block_counts


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the baseline.

    Attributes:
        sketch: The whole baseline.
        blocks: int64 [days, groups], coarse counts per day of event time in time order: how far
            the column moves by itself, without any drift. No row when the baseline has no times.
    """

    sketch: Sketch
    blocks: Counts = field(compare=False)

    @classmethod
    def of(
        cls, bins: FrozenBins, values: Column, time_us: npt.NDArray[np.int64] | None = None
    ) -> Self:
        """The profile of `values`, whose event times are `time_us`."""
        sketch = Sketch.of(bins, values)
        if time_us is None:
            groups = int(sketch.coarse_groups().max()) + 1
            return cls(sketch, np.zeros((0, groups), dtype=np.int64))
        return cls(sketch, block_counts(sketch, values, time_us))

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {**self.sketch.to_json(), "blocks": self.blocks.tolist()}

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        sketch = Sketch.from_json(document)
        groups = int(sketch.coarse_groups().max()) + 1
        return cls(sketch, np.asarray(document["blocks"], dtype=np.int64).reshape(-1, groups))


@dataclass(frozen=True)
class Profile:
    """The content of a bundle's `profile.json`.

    Attributes:
        features: The training rows' columns, by their raw names.
        score: The model's probability of class 1 on rows it was not trained on.
        label: The true outcome of the training rows.
        n: Rows the features were counted on.
    """

    features: Mapping[str, ColumnProfile]
    score: ColumnProfile
    label: ColumnProfile
    n: int

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "features": {name: column.to_json() for name, column in self.features.items()},
            "score": self.score.to_json(),
            "label": self.label.to_json(),
            "n": self.n,
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        return cls(
            {
                name: ColumnProfile.from_json(column)
                for name, column in document["features"].items()
            },
            ColumnProfile.from_json(document["score"]),
            ColumnProfile.from_json(document["label"]),
            int(document["n"]),
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
