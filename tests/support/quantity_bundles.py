"""Tiny bundles that tell a quantity: a line through one number."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

SLOPE, INTERCEPT = 2.5, -40.0


def quantities_of(values: np.ndarray) -> np.ndarray:
    """float64 [rows, 1]: what the model tells."""
    return values.reshape(-1, 1) * SLOPE + INTERCEPT


def quantity_files(
    shape: Sequence[int] = (-1, 1), slope: float = SLOPE, datatype: str = "FP32"
) -> dict[str, bytes]:
    """The files of the bundle, without the manifest."""
    inputs = [{"name": "delay", "datatype": "FP32", "shape": [-1, 1], "nullable": False}]
    outputs = [{"name": "prediction", "datatype": datatype, "shape": list(shape)}]
    signature = {"inputs": inputs, "outputs": outputs}
    return {"model.onnx": _model(slope), "signature.json": json.dumps(signature).encode()}


def _model(slope: float) -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["delay", "slope"], ["risen"]),
            helper.make_node("Add", ["risen", "intercept"], ["prediction"]),
        ],
        "quantities",
        [helper.make_tensor_value_info("delay", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope]),
            helper.make_tensor("intercept", TensorProto.FLOAT, [1], [INTERCEPT]),
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())
