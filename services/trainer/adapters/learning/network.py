"""Dense networks as scikit-learn estimators that skl2onnx can convert."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
    OnnxSoftmax,
    OnnxSub,
)
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.tables import TWO_CLASSES

Layer = tuple[Matrix, Matrix]
"""float32 [inputs, outputs] weights and float32 [outputs] biases."""


class NetworkClassifier(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]  # untyped bases
    """What converted networks share: they come trained, and tell probabilities.

    A single output is the logit of label 1; of more, each is that of its class.
    """

    classes_: npt.NDArray[np.int64]

    def fit(self, _rows: Matrix, _label: npt.NDArray[np.int64]) -> Self:
        """Itself: the weights come trained."""
        return self

    @abstractmethod
    def logits(self, rows: Matrix) -> Matrix:
        """float32 [rows, outputs]."""

    def predict_proba(self, rows: Matrix) -> Matrix:
        """float32 [rows, classes]."""
        logits = self.logits(rows)
        if logits.shape[1] == 1:
            positive = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
            return np.hstack([1 - positive, positive]).astype(np.float32)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)

    def predict(self, rows: Matrix) -> npt.NDArray[np.int64]:
        """int64 [rows]: the likeliest label."""
        return np.asarray(self.predict_proba(rows).argmax(axis=1), dtype=np.int64)


class DenseNetwork(NetworkClassifier):
    """Linear layers with rectifiers between them. Frozen: no dropout.

    Args:
        layers: From input to output.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.classes_ = np.arange(max(2, len(layers[-1][1])))

    def logits(self, rows: Matrix) -> Matrix:
        """See `NetworkClassifier`."""
        return through(self.layers, rows)


class DenseRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """The same, whose single output is a quantity.

    Args:
        layers: From input to output.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers

    def fit(self, _rows: Matrix, _label: npt.NDArray[np.float64]) -> Self:
        """Itself: the weights come trained."""
        return self

    def predict(self, rows: Matrix) -> npt.NDArray[np.float32]:
        """float32 [rows]."""
        return through(self.layers, rows)[:, 0]


def through(layers: list[Layer], rows: Matrix) -> Matrix:
    """float32 [rows, outputs]: `layers` with rectifiers between them, none at the end."""
    hidden = rows
    for number, (weights, biases) in enumerate(layers):
        hidden = hidden @ weights + biases
        if number < len(layers) - 1:
            hidden = np.maximum(hidden, 0)
    return hidden


def dense(hidden: Any, layers: list[Layer], version: dict[str, int], **last: Any) -> Any:
    """The node that computes `through`, over the node `hidden`; `last` is of its last one."""
    for number, (weights, biases) in enumerate(layers):
        named = last if number == len(layers) - 1 else {}
        hidden = OnnxGemm(hidden, weights, biases, **named, **version)
        if number < len(layers) - 1:
            hidden = OnnxRelu(hidden, **version)
    return hidden


def finish(logits: Any, operator: Any, scope: Any, container: Any) -> None:
    """End a classifier's graph: probabilities of the node `logits`, and the likeliest label."""
    version = {"op_version": container.target_opset}
    outputs = operator.outputs
    if len(operator.raw_operator.classes_) == len(TWO_CLASSES):
        positive = OnnxSigmoid(logits, **version)
        negative = OnnxSub(np.array([1], dtype=np.float32), positive, **version)
        all_ = OnnxConcat(negative, positive, axis=1, output_names=outputs[1:], **version)
    else:
        all_ = OnnxSoftmax(logits, axis=1, output_names=outputs[1:], **version)
    label = OnnxArgMax(all_, axis=1, keepdims=0, output_names=outputs[:1], **version)
    label.add_to(scope, container)


def classifier_shapes(operator: Any) -> None:
    """The outputs of a `NetworkClassifier`: labels and probabilities."""
    operator.outputs[0].type = Int64TensorType([None])
    operator.outputs[1].type = FloatTensorType([None, len(operator.raw_operator.classes_)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    version = {"op_version": container.target_opset}
    logits = dense(operator.inputs[0], operator.raw_operator.layers, version)
    finish(logits, operator, scope, container)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    version = {"op_version": container.target_opset}
    layers = operator.raw_operator.layers
    dense(operator.inputs[0], layers, version, output_names=operator.outputs).add_to(
        scope, container
    )


def _regressor_shapes(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, 1])


def register_network_converter() -> None:
    """Teach skl2onnx to convert both; again is harmless."""
    register(DenseNetwork, _convert)
    update_registered_converter(
        DenseRegressor, "RoundhouseDenseRegressor", _regressor_shapes, _convert_regressor
    )


def register(network: type[NetworkClassifier], convert: Any) -> None:
    """Teach skl2onnx to convert a class of networks by `convert`."""
    update_registered_converter(
        network,
        f"Roundhouse{network.__name__}",
        classifier_shapes,
        convert,
        options={"zipmap": [True, False], "nocl": [True, False]},
    )
