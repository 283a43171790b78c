"""Triton's classification extension: the largest values of an output instead of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import FieldViolation
from services.inference.core.errors import InvalidTensors
from services.inference.core.rows import Tensors


def classified(
    outputs: Tensors, counts: Mapping[str, int], names: Mapping[str, Sequence[str]]
) -> Tensors:
    """`outputs` with those that `counts` names replaced by their largest values.

    Args:
        outputs: Each [rows, ...].
        counts: Values wanted of each row, by output, each above 0; more than there are is all.
        names: Of an output's columns, where they have any.

    Returns:
        Such outputs as texts [rows, count], `value:index`, or `value:index:name` where the columns
        have names, the largest first, as Triton writes them for a model that batches.

    Raises:
        InvalidTensors: Such an output holds texts.
    """
    if texts := [name for name in counts if outputs[name].dtype.kind == "O"]:
        raise InvalidTensors(
            [FieldViolation(name, "holds texts; classification takes numbers") for name in texts]
        )
    return {
        name: _largest(array, counts[name], names.get(name, ())) if name in counts else array
        for name, array in outputs.items()
    }


def _largest(array: NDArray[Any], count: int, names: Sequence[str]) -> NDArray[Any]:
    rows = array.reshape(len(array), -1)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    form = "{:f}:{}{}" if array.dtype.kind == "f" else "{}:{}{}"
    ends = [f":{name}" for name in names] or [""] * rows.shape[1]
    lines = [
        [form.format(row[index], index, ends[index]) for index in indices]
        for row, indices in zip(rows, order, strict=True)
    ]
    return np.array(lines, dtype=np.object_)
