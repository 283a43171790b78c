"""Splits by time: what comes later never teaches what came earlier."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import DataFault

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SplitShares:
    """How much of the rows each part gets, in order of time.

    Attributes:
        train: Share of the earliest rows.
        validation: Share of the rows after them.
        test: Share of the latest rows.
    """

    train: float = 0.70
    validation: float = 0.15
    test: float = 0.15


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices of the three parts, each ascending in event time.

    Attributes:
        train: int64 [rows]; the earliest.
        validation: int64 [rows].
        test: int64 [rows]; the latest.
    """

    train: Indices
    validation: Indices
    test: Indices

    @property
    def fit(self) -> Indices:
        """Train and validation together: what the winner is retrained on."""
        return np.concatenate([self.train, self.validation])

    @property
    def all(self) -> Indices:
        """Every row, in order of time."""
        return np.concatenate([self.train, self.validation, self.test])

    @property
    def digest(self) -> str:
        """Identity of the whole split."""
        digests = (rows_digest(part) for part in (self.train, self.validation, self.test))
        return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


def rows_digest(rows: Indices) -> str:
    """Identity of a set of rows in its order: `sha256:` over the indices, little-endian int64."""
    return f"sha256:{hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest()}"


def split_by_time(event_times: npt.NDArray[np.int64], shares: SplitShares) -> Split:
    """The rows in order of `event_times`, cut at exact sizes.

    Rows of the same time keep the order they have in the data. Sizes are the shares of the
    number of rows, rounded half to even.

    Args:
        event_times: int64 [rows], any unit.
        shares: Shares of the three parts.

    Raises:
        DataFault: A part would be empty.
    """
    rows = len(event_times)
    order = np.argsort(event_times, kind="stable").astype(np.int64)
    train_end = round(rows * shares.train)
    validation_end = round(rows * (shares.train + shares.validation))
    if not 0 < train_end < validation_end < rows:
        raise DataFault(f"{rows} rows leave a part of the split empty")
    return Split(order[:train_end], order[train_end:validation_end], order[validation_end:])
