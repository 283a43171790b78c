"""What a tensor inside a graph holds for some rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from services.trainer.core.tables import Table

MOST_ROWS: Final = 10_000
"""Enough to tell units apart, and to solve for thousands of weights."""


def some_rows(rows: Table) -> Table:
    """At most `MOST_ROWS`, evenly over all of them."""
    places = np.linspace(0, len(rows) - 1, min(MOST_ROWS, len(rows)))
    return rows.take(places.astype(np.int64))


def held(model: onnx.ModelProto, tensors: Sequence[str], rows: Table) -> list[npt.NDArray[Any]]:
    """The float tensors called `tensors` of `model`, for `rows`: float32 [rows, ...] each."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    for name in tensors:
        probed.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {each.name: rows.features[each.name].reshape(-1, 1) for each in session.get_inputs()}
    found: list[npt.NDArray[Any]] = session.run(list(tensors), feed)
    return found
