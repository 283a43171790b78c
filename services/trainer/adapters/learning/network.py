"""A dense network as a scikit-learn classifier that skl2onnx can convert."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from skl2onnx import update_registered_converter
from skl2onnx.algebra.onnx_ops import (
    OnnxArgMax,
    OnnxConcat,
    OnnxGemm,
    OnnxRelu,
    OnnxSigmoid,
    OnnxSub,
)
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.base import BaseEstimator, ClassifierMixin

from services.trainer.adapters.learning.recipe import Matrix

Layer = tuple[Matrix, Matrix]
"""float32 [inputs, outputs] weights and float32 [outputs] biases."""


class DenseNetwork(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Linear layers with rectifiers between them and a sigmoid at the end. Frozen: no dropout.

    Args:
        layers: From input to the single output.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.classes_ = np.array([0, 1])

    def fit(self, _rows: Matrix, _label: npt.NDArray[np.int64]) -> Self:
        """Itself: the layers come trained."""
        return self

    def predict_proba(self, rows: Matrix) -> Matrix:
        """float32 [rows, 2]: probabilities of 0 and of 1."""
        hidden = rows
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ weights + biases
            if number < len(self.layers) - 1:
                hidden = np.maximum(hidden, 0)
        positive = 1 / (1 + np.exp(-np.clip(hidden, -80, 80)))
        return np.hstack([1 - positive, positive]).astype(np.float32)

    def predict(self, rows: Matrix) -> npt.NDArray[np.int64]:
        """int64 [rows]: the likelier label."""
        return np.asarray(self.predict_proba(rows).argmax(axis=1), dtype=np.int64)


def _shapes(operator: Any) -> None:
    operator.outputs[0].type = Int64TensorType([None])
    operator.outputs[1].type = FloatTensorType([None, 2])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    version = {"op_version": container.target_opset}
    layers: list[Layer] = operator.raw_operator.layers
    hidden = operator.inputs[0]
    for number, (weights, biases) in enumerate(layers):
        hidden = OnnxGemm(hidden, weights, biases, **version)
        if number < len(layers) - 1:
            hidden = OnnxRelu(hidden, **version)
    positive = OnnxSigmoid(hidden, **version)
    negative = OnnxSub(np.array([1], dtype=np.float32), positive, **version)
    both = OnnxConcat(negative, positive, axis=1, output_names=operator.outputs[1:], **version)
    label = OnnxArgMax(both, axis=1, keepdims=0, output_names=operator.outputs[:1], **version)
    label.add_to(scope, container)


def register_network_converter() -> None:
    """Teach skl2onnx to convert `DenseNetwork`; again is harmless."""
    update_registered_converter(
        DenseNetwork,
        "RoundhouseDenseNetwork",
        _shapes,
        _convert,
        options={"zipmap": [True, False], "nocl": [True, False]},
    )
