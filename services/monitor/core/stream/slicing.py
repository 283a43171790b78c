"""Which slices the rows of a window are in: those that share a value of a feature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.monitor.core.stream.batches import FEATURE_PREFIX

MAX_SLICE_VALUES: Final = 20
"""Values of a slice's feature that are counted apart: the first that are seen."""

_NO_SLICE: Final = -1


def slice_value(value: object) -> str:
    """What a slice of this value is called; empty if the value is missing."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float) or value != value:
        return ""
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
                parts.append(self._coded(feature, rows.column(name).combine_chunks()))
            else:
                parts.append(np.full(rows.num_rows, _NO_SLICE, np.int8))

    def masks(self) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.bool_]]]:
        """Feature and value of each slice with its rows, bool [rows], as they were first seen."""
        for feature, known in self._known.items():
            codes = np.concatenate(self._codes[feature]) if known else np.empty(0, np.int8)
            for value, code in known.items():
                yield (feature, value), codes == code

    def _coded(self, feature: str, column: pa.Array[Any]) -> npt.NDArray[np.int8]:
        encoded = column.dictionary_encode()
        codes = [self._code(feature, value) for value in encoded.dictionary.to_pylist()]
        # A missing value's index is -1, which is the last of them.
        by_index = np.array([*codes, _NO_SLICE], np.int8)
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.asarray(by_index[indices], np.int8)

    def _code(self, feature: str, value: object) -> int:
        known, name = self._known[feature], slice_value(value)
        if not name or (name not in known and len(known) >= MAX_SLICE_VALUES):
            return _NO_SLICE
        return known.setdefault(name, len(known))
