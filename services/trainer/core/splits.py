"""Splits: which rows teach, which choose, and which judge once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import DataFault
from services.trainer.core.tables import TWO_CLASSES, Strings

Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]

PARTS: Final = ("train", "validation", "test")


class SplitMethod(StrEnum):
    """Which rows go into which part. The values are names of the contract."""

    TIME = "METHOD_TIME"
    RANDOM = "METHOD_RANDOM"
    STRATIFIED = "METHOD_STRATIFIED"
    GROUPED = "METHOD_GROUPED"


@dataclass(frozen=True, slots=True)
class SplitShares:
    """How much of the rows each part gets.

    Attributes:
        train: Share of rows to train on; by time, the earliest.
        validation: Share of the rows that choose; by time, those after them.
        test: Share of the rows that judge; by time, the latest.
    """

    train: float = 0.70
    validation: float = 0.15
    test: float = 0.15

    def sizes(self, rows: int) -> tuple[int, int, int]:
        """Rows of each part: shares of the number of rows, rounded half to even.

        Raises:
            DataFault: A part would be empty.
        """
        train_end = round(rows * self.train)
        validation_end = round(rows * (self.train + self.validation))
        if not 0 < train_end < validation_end < rows:
            raise DataFault(
                f"split: {rows} rows leave a part empty; it takes more rows or larger fractions"
            )
        return train_end, validation_end - train_end, rows - validation_end


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices of the three parts, each ascending in event time.

    Attributes:
        train: int64 [rows].
        validation: int64 [rows].
        test: int64 [rows].
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
        """Every row, part after part."""
        return np.concatenate([self.train, self.validation, self.test])

    @property
    def digest(self) -> str:
        """Identity of the whole split."""
        digests = (rows_digest(part) for part in (self.train, self.validation, self.test))
        return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"

    def ordered_by(self, event_times: npt.NDArray[np.int64]) -> Split:
        """The same parts, each in order of time; rows of one time in the order of the data."""

        def ordered(part: Indices) -> Indices:
            rows = np.sort(part)
            return rows[np.argsort(event_times[rows], kind="stable")]

        return Split(ordered(self.train), ordered(self.validation), ordered(self.test))


def rows_digest(rows: Indices) -> str:
    """Identity of a set of rows in its order: `sha256:` over the indices, little-endian int64."""
    return f"sha256:{hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest()}"


def split_by_time(event_times: npt.NDArray[np.int64], shares: SplitShares) -> Split:
    """The rows in order of `event_times`, cut at exact sizes: nothing later teaches.

    Rows of the same time keep the order they have in the data.

    Args:
        event_times: int64 [rows], any unit.
        shares: Shares of the three parts.

    Raises:
        DataFault: A part would be empty.
    """
    order = np.argsort(event_times, kind="stable").astype(np.int64)
    return _cut(order, shares.sizes(len(order)))


def split_by_chance(rows: int, shares: SplitShares, seed: int) -> Split:
    """Rows drawn into parts of exact sizes.

    Raises:
        DataFault: A part would be empty.
    """
    order = np.random.default_rng(seed).permutation(rows).astype(np.int64)
    return _cut(order, shares.sizes(rows))


def split_stratified(
    label: Labels, shares: SplitShares, seed: int, classes: Sequence[str] = TWO_CLASSES
) -> Split:
    """Rows drawn into parts of exact sizes, each label spread over them as evenly as can be.

    Args:
        label: int64 [rows], numbers of classes.
        shares: Shares of the three parts.
        seed: Of the draw.
        classes: Names by number.

    Raises:
        DataFault: A part would be empty, or lack a label.
    """
    left = np.array(shares.sizes(len(label)))
    order = np.random.default_rng(seed).permutation(len(label)).astype(np.int64)
    parts: list[list[Indices]] = [[], [], []]
    for number in reversed(range(len(classes))):
        rows = order[label[order] == number]
        # What is left of the parts is in proportion, so that the last class takes it whole.
        inside = _shared_out(len(rows), left) if number else left.copy()
        left -= inside
        if not inside.all():
            raise DataFault(
                f"split.method METHOD_STRATIFIED puts each label into each part; {len(rows)} rows "
                f"with label {classes[number]} leave the {PARTS[int(inside.argmin())]} part none"
            )
        for part, chosen in zip(parts, np.split(rows, np.cumsum(inside)[:-1]), strict=True):
            part.append(chosen)
    train, validation, test = (np.concatenate(part) for part in parts)
    return Split(train, validation, test)


def split_by_group(groups: Strings, shares: SplitShares, seed: int) -> Split:
    """Whole groups drawn into parts, whose sizes are as near as groups allow.

    A group goes where the largest share of the part is missing yet and there is room for it, and
    each part gets one at least.

    Args:
        groups: Object [rows] of str.
        shares: Shares of the three parts.
        seed: Of the draw.

    Raises:
        DataFault: There are fewer than three groups, or one is larger than any part.
    """
    wanted = np.array(shares.sizes(len(groups)))
    names, codes, counts = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    largest = int(counts.argmax())
    if len(names) == 1:
        raise DataFault(f"split.group_column has the one value {str(names[0])!r} in every row")
    if len(names) < len(PARTS):
        raise DataFault(f"split.group_column has {len(names)} values; the three parts need three")
    if counts[largest] > wanted.max():
        raise DataFault(
            f"split.group_column: the {counts[largest]} rows of {str(names[largest])!r} "
            f"fit into no part; the largest is to have {wanted.max()}"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    part_of = place_groups(counts[order], wanted)
    part = np.empty(len(names), dtype=np.int64)
    part[order] = part_of
    row_part = part[codes]
    train, validation, test = (np.flatnonzero(row_part == each) for each in range(len(PARTS)))
    return Split(train, validation, test)


def place_groups(counts: npt.NDArray[np.int64], wanted: npt.NDArray[Any]) -> Indices:
    """The part that each group goes to: where the largest share is missing and there is room.

    Args:
        counts: int64 [groups], rows of each, in the order in which they are placed.
        wanted: [parts], rows that each part is to have; no part stays empty.
    """
    held = [0] * len(wanted)
    placed = np.empty(len(counts), dtype=np.int64)
    for at, size in enumerate(counts.tolist()):
        empty = [part for part, rows in enumerate(held) if not rows]
        free = empty if len(counts) - at == len(empty) else list(range(len(held)))
        missing = [float(whole) - rows for whole, rows in zip(wanted, held, strict=True)]
        roomy = [(missing[part] / wanted[part], -part) for part in free if missing[part] >= size]
        full = [(missing[part], -part) for part in free]
        chosen = -max(roomy or full)[1]
        held[chosen] += size
        placed[at] = chosen
    return placed


def _cut(order: Indices, sizes: tuple[int, int, int]) -> Split:
    train, validation, _ = sizes
    return Split(order[:train], order[train : train + validation], order[train + validation :])


def _shared_out(count: int, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`count` over the parts in proportion to `sizes`, by largest remainders."""
    quotas = count * sizes / sizes.sum()
    shared: npt.NDArray[np.int64] = np.floor(quotas).astype(np.int64)
    rest = count - int(shared.sum())
    shared[np.argsort(-(quotas - shared), kind="stable")[:rest]] += 1
    return shared
