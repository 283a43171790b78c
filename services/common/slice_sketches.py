"""Frozen-bin integer histograms of columns slice by slice: of the rows that share a value.

They lie over the coarse groups of a baseline's columns, some twenty of each instead of its
hundreds of bins: 1,000 columns in 22 slices take 4 MB. Like sketches they merge by addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from services.common.sketches import BinMismatch, Counts, FrozenBins, Json

MAX_SLICING: Final = 4
"""Features that slice."""

MAX_SLICE_VALUES: Final = 20
"""Values of a feature that slices which are told apart."""


@dataclass(frozen=True, eq=False)
class SliceSketches:
    """What columns hold in each slice of one feature. Owns its counts.

    Attributes:
        by: The slices: a bin of the feature that slices each, so that rows of any other value
            and rows without one are slices too.
        columns: int64 [slices, groups] by column, over the coarse groups of its profile.
        score: int64 [slices, groups], likewise.
    """

    by: FrozenBins
    columns: Mapping[str, Counts]
    score: Counts

    @classmethod
    def empty(cls, by: FrozenBins, widths: Mapping[str, int], score_width: int) -> Self:
        """Sketches that have counted nothing yet.

        Args:
            by: The slices.
            widths: Coarse groups of each column.
            score_width: Those of the score.
        """
        return cls(
            by,
            {name: np.zeros((by.size, width), np.int64) for name, width in widths.items()},
            np.zeros((by.size, score_width), np.int64),
        )

    def emptied(self) -> SliceSketches:
        """Sketches of the same columns over the same slices that have counted nothing yet."""
        widths = {name: counts.shape[1] for name, counts in self.columns.items()}
        return SliceSketches.empty(self.by, widths, self.score.shape[1])

    def merge(self, other: SliceSketches) -> SliceSketches:
        """New sketches of both.

        Raises:
            BinMismatch: The two are not of the same slices and columns.
        """
        shapes, others = (
            {name: counts.shape for name, counts in each.columns.items()} for each in (self, other)
        )
        if (self.by, shapes, self.score.shape) != (other.by, others, other.score.shape):
            raise BinMismatch("the sketches have different slices or columns")
        return SliceSketches(
            self.by,
            {name: counts + other.columns[name] for name, counts in self.columns.items()},
            self.score + other.score,
        )

    def to_json(self) -> Json:
        """As `from_json` reads it."""
        return {
            "by": self.by.to_json(),
            "columns": {name: counts.tolist() for name, counts in self.columns.items()},
            "score": self.score.tolist(),
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """The inverse of `to_json`."""
        return cls(
            FrozenBins.from_json(document["by"]),
            {name: np.array(counts, np.int64) for name, counts in document["columns"].items()},
            np.array(document["score"], np.int64),
        )


def add_rows(
    counts: Counts, slices: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | int
) -> None:
    """Count rows.

    Args:
        counts: int64 [slices, groups].
        slices: int64 [n], the slice of each row.
        groups: int64 [n], the coarse group of each row's value; or that of all rows.
    """
    flat = slices * counts.shape[1] + groups
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
