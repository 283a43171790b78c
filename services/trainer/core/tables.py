"""The rows that a job trains on, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Strings = npt.NDArray[np.object_]

Labels = npt.NDArray[Any]
"""int64, numbers of classes, or float64, the quantities of a regression."""

TWO_CLASSES: Final = ("0", "1")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one snapshot, rows in the snapshot's order.

    Attributes:
        numeric: Numeric features in the spec's order, each float32 [rows]; NaN is missing.
        categorical: Categorical features in the spec's order, each object [rows] of str;
            '' is missing.
        label: [rows], the number of the row's class, or its quantity.
        event_time_us: int64 [rows], microseconds since the epoch.
        slices: Slice columns, each object [rows] of str; '' is missing.
        groups: Object [rows] of str, the group that each row is of; None where rows are in none.
        classes: Names of the classes by their numbers; empty for a regression.
        text: Text features in the spec's order, as `categorical`.
    """

    numeric: Mapping[str, npt.NDArray[np.float32]]
    categorical: Mapping[str, Strings]
    label: Labels
    event_time_us: npt.NDArray[np.int64]
    slices: Mapping[str, Strings]
    groups: Strings | None = None
    classes: tuple[str, ...] = TWO_CLASSES
    text: Mapping[str, Strings] = field(default_factory=dict)

    @property
    def features(self) -> dict[str, npt.NDArray[Any]]:  # float32 or object, by role
        """All features by name: numeric, categorical, text."""
        return {**self.numeric, **self.categorical, **self.text}

    def __len__(self) -> int:
        return len(self.label)

    def lacking(self, rows: Rows) -> list[str]:
        """Names of the classes that none of `rows` is of."""
        if not self.classes:
            return []
        found = np.bincount(self.label[rows], minlength=len(self.classes))
        return [name for name, count in zip(self.classes, found, strict=True) if not count]

    def take(self, rows: Rows) -> Table:
        """The rows at `rows`, in that order."""
        return replace(
            self,
            numeric={name: column[rows] for name, column in self.numeric.items()},
            categorical={name: column[rows] for name, column in self.categorical.items()},
            text={name: column[rows] for name, column in self.text.items()},
            label=self.label[rows],
            event_time_us=self.event_time_us[rows],
            slices={name: column[rows] for name, column in self.slices.items()},
            groups=None if self.groups is None else self.groups[rows],
        )

    def replaced(self, columns: Mapping[str, npt.NDArray[Any]]) -> Table:
        """The same rows with other values in the features named by `columns`."""
        return replace(
            self,
            numeric={name: columns.get(name, column) for name, column in self.numeric.items()},
            categorical={
                name: columns.get(name, column) for name, column in self.categorical.items()
            },
            text={name: columns.get(name, column) for name, column in self.text.items()},
        )
