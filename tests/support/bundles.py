"""Tiny bundles of model versions: a logistic regression over two numbers and a text."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

FEATURES = ("distance", "delay", "carrier")
CARRIER_EFFECTS = {"AA": 0.5, "UA": -0.5}


@dataclass(frozen=True)
class TinyModel:
    """P(1) = sigmoid(bias + 0.001 distance + 0.1 delay + effect of the carrier).

    A missing distance counts as 0; other carriers, and a missing one, have no effect.
    """

    bias: float = 0.0

    def probability(self, distance: float, delay: float, carrier: str) -> float:
        """What the ONNX model gives, in float64."""
        known = 0.0 if math.isnan(distance) else distance
        total = self.bias + 0.001 * known + 0.1 * delay + CARRIER_EFFECTS.get(carrier, 0.0)
        return 1.0 / (1.0 + math.exp(-total))

    def onnx(self) -> bytes:
        """The serialized graph."""
        column = [None, 1]
        nodes = [
            helper.make_node("Concat", ["distance", "delay"], ["raw"], axis=1),
            helper.make_node("IsNaN", ["raw"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "raw"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["linear"]),
            helper.make_node(
                "LabelEncoder",
                ["carrier"],
                ["effect"],
                domain="ai.onnx.ml",
                keys_strings=list(CARRIER_EFFECTS),
                values_floats=list(CARRIER_EFFECTS.values()),
                default_float=0.0,
            ),
            helper.make_node("Add", ["linear", "effect"], ["shifted"]),
            helper.make_node("Add", ["shifted", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["positive"]),
            helper.make_node("Sub", ["one", "positive"], ["negative"]),
            helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info("distance", TensorProto.FLOAT, column),
                helper.make_tensor_value_info("delay", TensorProto.FLOAT, column),
                helper.make_tensor_value_info("carrier", TensorProto.STRING, column),
            ],
            [
                helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
            ],
            [
                helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
                helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("bias", TensorProto.FLOAT, [1], [self.bias]),
                helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [0.001, 0.1]),
            ],
        )
        model = helper.make_model(
            graph,
            ir_version=8,
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)],
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def signature(**changes: Any) -> dict[str, Any]:
    """The tiny model's `signature.json`."""
    document = {
        "inputs": [
            {
                "name": "distance",
                "datatype": "FP32",
                "shape": [-1, 1],
                "nullable": True,
                "minimum": 0.0,
                "maximum": 5000.0,
                "categories": None,
            },
            {
                "name": "delay",
                "datatype": "FP32",
                "shape": [-1, 1],
                "nullable": False,
                "minimum": -60.0,
                "maximum": 600.0,
                "categories": None,
            },
            {
                "name": "carrier",
                "datatype": "BYTES",
                "shape": [-1, 1],
                "nullable": True,
                "minimum": None,
                "maximum": None,
                "categories": ["AA", "UA"],
            },
        ],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    return {**document, **changes}


def tiny_files(model: TinyModel = TinyModel(), **signature_changes: Any) -> dict[str, bytes]:
    """The files of the tiny model's bundle, without the manifest."""
    return {
        "model.onnx": model.onnx(),
        "signature.json": json.dumps(signature(**signature_changes)).encode(),
        "card.md": b"# Tiny\n",
    }


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The canonical `manifest.json` of `files`."""
    items = [
        {
            "path": path,
            "sha256": f"sha256:{hashlib.sha256(files[path]).hexdigest()}",
            "size_bytes": len(files[path]),
        }
        for path in sorted(files)
    ]
    return json.dumps({"files": items}, sort_keys=True, separators=(",", ":")).encode()


def write_bundle(root: Path, version: str, files: Mapping[str, bytes]) -> str:
    """Write a bundle to `{root}/{version}` and give its digest."""
    folder = root / version
    folder.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(files)
    for path, content in {**files, "manifest.json": manifest}.items():
        (folder / path).write_bytes(content)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def raw_floats(values: Sequence[float]) -> bytes:
    """FP32 contents as the Open Inference Protocol carries them."""
    return np.array(values, dtype="<f4").tobytes()
