"""Tiny bundles of three classes: a softmax over one number."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

NAMES = ("early", "late", "on time")


def logits_of(values: np.ndarray) -> np.ndarray:
    """float64 [rows, 3]: what the model is sure of, before its softmax."""
    return values.reshape(-1, 1) * np.array([[-0.1, 0.1, 0.0]])


def probabilities_of(values: np.ndarray) -> np.ndarray:
    """float64 [rows, 3]."""
    exponents = np.exp(logits_of(values))
    return exponents / exponents.sum(axis=1, keepdims=True)


def class_files(names: Sequence[str] = NAMES, shape: Sequence[int] = (-1, 3)) -> dict[str, bytes]:
    """The files of the bundle, without the manifest."""
    inputs = [{"name": "delay", "datatype": "FP32", "shape": [-1, 1], "nullable": False}]
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": list(shape),
            "classes": list(names),
        },
    ]
    signature = {"inputs": inputs, "outputs": outputs}
    return {"model.onnx": _model(), "signature.json": json.dumps(signature).encode()}


def _model() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["delay", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "classes",
        [helper.make_tensor_value_info("delay", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
        [helper.make_tensor("weights", TensorProto.FLOAT, [1, 3], [-0.1, 0.1, 0.0])],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())
