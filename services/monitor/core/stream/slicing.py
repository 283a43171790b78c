"""Which slices the rows of a window are in, those that share a value of a feature, and what
columns hold in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.common.profiles import Profile
from services.common.sketches import Column, Counts, FrozenBins
from services.common.slice_sketches import MAX_SLICE_VALUES, add_rows
from services.monitor.core.stream.batches import FEATURE_PREFIX

CodeT = TypeVar("CodeT", np.int8, np.int64)

_NO_SLICE: Final = -1
_EXACT: Final = 2**53
"""Whole numbers below it are told apart as floats."""


def slice_value(value: object) -> str:
    """What a slice of this value is called; empty if the value is missing."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float) or value != value:
        return ""
    if isinstance(value, int) or (value.is_integer() and abs(value) < _EXACT):
        return str(int(value))
    return f"{value:g}"


class SliceCodes:
    """The slices of each row, feature by feature. Owns its arrays.

    Args:
        features: Whose values slice.
    """

    def __init__(self, features: tuple[str, ...]) -> None:
        self._known: dict[str, dict[str, int]] = {feature: {} for feature in features}
        self._codes: dict[str, list[npt.NDArray[np.int8]]] = {feature: [] for feature in features}

    def observe(self, rows: pa.Table) -> None:
        """Take the next rows."""
        for feature, parts in self._codes.items():
            name = FEATURE_PREFIX + feature
            if name in rows.column_names:
                parts.append(self._coded(feature, rows.column(name)))
            else:
                parts.append(np.full(rows.num_rows, _NO_SLICE, np.int8))

    def masks(self) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.bool_]]]:
        """Feature and value of each slice with its rows, bool [rows], as they were first seen."""
        for feature, known in self._known.items():
            codes = np.concatenate(self._codes[feature]) if known else np.empty(0, np.int8)
            for value, code in known.items():
                yield (feature, value), codes == code

    def _coded(self, feature: str, column: pa.ChunkedArray) -> npt.NDArray[np.int8]:
        def codes_of(values: list[str]) -> npt.NDArray[np.int8]:
            return np.array([self._code(feature, value) for value in values], np.int8)

        return _by_value(column, codes_of, np.int8(_NO_SLICE))

    def _code(self, feature: str, name: str) -> int:
        known = self._known[feature]
        if not name or (name not in known and len(known) >= MAX_SLICE_VALUES):
            return _NO_SLICE
        return known.setdefault(name, len(known))


class SliceTally:
    """What the features and the score hold in each slice. Owns its sketches.

    The slices are those of the baseline, so that they are the same ones in every window, whatever
    comes first.

    Args:
        profile: Baseline.
        features: Whose values slice.

    Attributes:
        sketches: By feature that slices.
        unsliced: Features that the baseline is not sliced by.
    """

    def __init__(self, profile: Profile, features: tuple[str, ...]) -> None:
        self._profile = profile
        self.unsliced = tuple(each for each in features if each not in profile.slices)
        self.sketches = {
            feature: profile.slices[feature].emptied()
            for feature in features
            if feature in profile.slices
        }

    def observe(
        self, sent: Mapping[str, pa.ChunkedArray], columns: Mapping[str, Column], scores: Column
    ) -> None:
        """Count rows.

        Args:
            sent: Their columns as they came.
            columns: Those of the features that can be read; one that lacks counts as missing.
            scores: Theirs.
        """
        if not self.sketches:
            return
        slices = {
            feature: _slices(sketches.by, sent.get(FEATURE_PREFIX + feature), len(scores))
            for feature, sketches in self.sketches.items()
        }
        for name, column in self._profile.features.items():
            values = columns.get(name)
            groups = column.missing_group if values is None else column.groups_of(values)
            for feature, sketches in self.sketches.items():
                add_rows(sketches.columns[name], slices[feature], groups)
        groups = self._profile.score.groups_of(scores)
        for feature, sketches in self.sketches.items():
            add_rows(sketches.score, slices[feature], groups)


def _slices(by: FrozenBins, column: pa.ChunkedArray | None, rows: int) -> Counts:
    """int64 [rows]: the slice of each."""
    if column is None:
        return np.full(rows, by.missing)
    return _by_value(column, by.indices, np.int64(by.missing))


def _by_value(
    column: pa.ChunkedArray,
    codes_of: Callable[[list[str]], npt.NDArray[CodeT]],
    missing: CodeT,
) -> npt.NDArray[CodeT]:
    """[rows]: the code of what each row's value is called; each value is looked at once."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = codes_of([slice_value(value) for value in encoded.dictionary.to_pylist()])
    # A missing value's index is -1, which is the last of them.
    by_index = np.append(codes, missing)
    return np.asarray(by_index[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
