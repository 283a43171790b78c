"""A target column as the labels that models learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.trainer.core.failures import DataFault
from services.trainer.core.tables import TWO_CLASSES, Labels
from services.trainer.core.tasks import MAX_CLASSES, Task

Classes = npt.NDArray[np.int64]

LONGEST_NAME: Final = 64
"""Of a class: its metrics bear it."""

_SHOWN: Final = 3
_LARGEST: Final = 1e15
"""Of a quantity, up or down: its square, which errors are told in, is far from float32's end."""


def labels_of(
    column: pa.ChunkedArray, name: str, task: Task, classes: Sequence[str] | None = None
) -> tuple[Labels, tuple[str, ...]]:
    """The number of each row's class, and the names of the classes by their numbers.

    Of a regression each row's quantity, and no names.

    Args:
        column: The target.
        name: Of the column.
        task: What it is.
        classes: Names where they are settled, as those of a trained version are; None takes those
            that occur: whole numbers in their order, words in alphabetical order.

    Raises:
        DataFault: A row lacks its label, the column is not what the task takes, or a class is none
            of `classes`.
    """
    if column.null_count:
        raise DataFault(f"target {name} is missing in {column.null_count} rows")
    match task:
        case Task.BINARY:
            return _binary(column, name), TWO_CLASSES
        case Task.MULTICLASS:
            return _numbered(column, name, classes)
        case Task.REGRESSION:
            return _quantities(column, name), ()


def _quantities(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataFault(f"target {name} has type {kind}; {Task.REGRESSION} is for numbers")
    values = column.cast(pa.float64()).to_numpy()
    if nans := int(np.isnan(values).sum()):
        raise DataFault(f"target {name} is not a number (NaN) in {nans} rows")
    if infinite := int(np.isinf(values).sum()):
        raise DataFault(f"target {name} is infinite in {infinite} rows")
    if (np.abs(values) > _LARGEST).any():
        raise DataFault(f"target {name} has values beyond {_LARGEST:.0e}, or below its negative")
    return cast("npt.NDArray[np.float64]", values)


def _binary(column: pa.ChunkedArray, name: str) -> Classes:
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind)):
        raise DataFault(f"target {name} has type {kind}; it must be boolean or 0 and 1")
    values = column.cast(pa.int64()).to_numpy()
    if not np.isin(values, (0, 1)).all():
        raise DataFault(
            f"target {name} has values other than 0 and 1; more than two classes are for "
            f"{Task.MULTICLASS}"
        )
    return cast("Classes", values)


def _numbered(
    column: pa.ChunkedArray, name: str, classes: Sequence[str] | None
) -> tuple[Classes, tuple[str, ...]]:
    words = _words(column, name)
    found = pc.unique(words).to_pylist()
    if classes is None:
        is_number = pa.types.is_integer(column.type)
        classes = sorted(found, key=int) if is_number else sorted(found)
        _check_names(classes, name)
    if unknown := sorted(set(found) - set(classes)):
        shown = ", ".join(unknown[:_SHOWN])
        raise DataFault(f"target {name} has the label {shown}, which the version doesn't know")
    numbers = pc.index_in(words, value_set=pa.array(classes, pa.string())).cast(pa.int64())
    return cast("Classes", numbers.to_numpy()), tuple(classes)


def _words(column: pa.ChunkedArray, name: str) -> pa.Array:
    kind = column.type
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_word = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
    if not (is_word or pa.types.is_integer(value_type)):
        raise DataFault(f"target {name} has type {kind}; classes are words or whole numbers")
    words = column.cast(pa.string()).combine_chunks()
    missing = pc.sum(pc.equal(words, "")).as_py()
    if missing:
        raise DataFault(f"target {name} is missing in {missing} rows")
    return words


def _check_names(classes: Sequence[str], name: str) -> None:
    if len(classes) <= len(TWO_CLASSES):
        raise DataFault(
            f"target {name} has {len(classes)} classes; {Task.MULTICLASS} is for more than two, "
            f"{Task.BINARY} for 0 and 1"
        )
    if len(classes) > MAX_CLASSES:
        raise DataFault(
            f"target {name} has {len(classes)} classes; at most {MAX_CLASSES} are allowed"
        )
    if longest := [each for each in classes if len(each) > LONGEST_NAME]:
        raise DataFault(
            f"target {name} has a class of {len(longest[0])} characters; "
            f"at most {LONGEST_NAME} are allowed"
        )
