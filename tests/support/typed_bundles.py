"""A bundle with one input of every type of the protocol, and rows for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from services.inference.core.routing import Variant
from services.inference.core.signature import DTYPES
from tests.support.bundles import write_bundle
from tests.support.serving import version_name

COLUMNS = {f"a_{datatype.lower()}": (datatype, dtype) for datatype, dtype in DTYPES.items()}
"""Type in the protocol's words and in numpy's, by the name of the input."""


def typed_signature() -> dict:
    """The `signature.json`: every number, and a text."""
    described = [
        {"name": name, "datatype": datatype, "shape": [-1, 1], "nullable": dtype.kind == "f"}
        for name, (datatype, dtype) in COLUMNS.items()
    ]
    described.append({"name": "a_text", "datatype": "BYTES", "shape": [-1, 1], "nullable": True})
    outputs = [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
    return {"inputs": described, "outputs": outputs}


def rows_of(count: int) -> dict[str, np.ndarray]:
    """[rows, 1] of each number's own type, small enough for each; the texts are apart."""
    return {
        name: (np.arange(count) % 2 if dtype.kind == "b" else np.arange(count) + place)
        .astype(dtype)
        .reshape(-1, 1)
        for place, (name, (_, dtype)) in enumerate(COLUMNS.items())
    }


def probabilities_of(rows: dict[str, np.ndarray]) -> np.ndarray:
    """Of class 1: sigmoid(sum of the numbers / 100)."""
    total = sum(column[:, 0].astype(np.float64) for column in rows.values())
    return 1.0 / (1.0 + np.exp(-total / 100.0))


def published(root: Path, number: int, weight_bp: int = 10_000) -> Variant:
    """The variant of the model's bundle, written under `root`."""
    files = {"model.onnx": typed_graph(), "signature.json": json.dumps(typed_signature()).encode()}
    digest = write_bundle(root, version_name(number), files)
    return Variant(version_name(number), digest, weight_bp)


def typed_graph() -> bytes:
    """The model: of class 1, sigmoid(sum of the numbers / 100)."""
    nodes = [
        helper.make_node("Cast", [name], [f"f_{name}"], to=TensorProto.FLOAT) for name in COLUMNS
    ]
    nodes += [
        helper.make_node("Concat", [f"f_{name}" for name in COLUMNS], ["all"], axis=1),
        helper.make_node("ReduceSum", ["all", "columns"], ["sum"], keepdims=1),
        helper.make_node("Div", ["sum", "hundred"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), [None, 1])
        for name, (_, dtype) in COLUMNS.items()
    ]
    inputs.append(helper.make_tensor_value_info("a_text", TensorProto.STRING, [None, 1]))
    graph = helper.make_graph(
        nodes,
        "typed",
        inputs,
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor("columns", TensorProto.INT64, [1], [1]),
            helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, ir_version=8, opset_imports=[opset]).SerializeToString()
