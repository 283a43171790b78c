"""A small convolutional network as a scikit-learn classifier that skl2onnx can convert."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType

from services.trainer.adapters.learning.epochs import one_thread
from services.trainer.adapters.learning.network import (
    Layer,
    NetworkClassifier,
    dense,
    finish,
    register,
)
from services.trainer.adapters.learning.nodes import Nodes
from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.tables import TWO_CLASSES

KERNEL = 3
BATCH_ROWS = 4096
"""Of one run: what lies between layers is many times the rows."""

Shape = tuple[int, int, int]
"""Height, width, channels."""


class ConvolutionalNetwork(NetworkClassifier):
    """Convolutions of 3 x 3, each with a rectifier and the largest of 2 x 2, then dense layers.

    Args:
        shape: Of the images; rows hold them line by line, then by column, then by channel.
        scale: What pixels are multiplied by, and what is added then.
        convolutions: float32 [filters, channels, 3, 3] weights and float32 [filters] biases.
        layers: From what the last convolution gives to output.
    """

    def __init__(
        self,
        shape: Shape,
        scale: tuple[float, float],
        convolutions: list[Layer],
        layers: list[Layer],
    ) -> None:
        self.shape = shape
        self.scale = scale
        self.convolutions = convolutions
        self.layers = layers
        self.classes_ = np.arange(max(len(TWO_CLASSES), len(layers[-1][1])))

    def logits(self, rows: Matrix) -> Matrix:
        """See `NetworkClassifier`. By torch, on one thread."""
        with one_thread():
            parts = range(0, len(rows), BATCH_ROWS)
            return np.concatenate([self._run(rows[at : at + BATCH_ROWS]) for at in parts])

    def _run(self, rows: Matrix) -> Matrix:
        import torch
        from torch.nn import functional

        factor, shift = (np.float32(each) for each in self.scale)
        images = rows.reshape(-1, *self.shape).transpose(0, 3, 1, 2) * factor + shift
        hidden = torch.from_numpy(np.ascontiguousarray(images))
        for weights, biases in self.convolutions:
            kernel, bias = torch.from_numpy(weights), torch.from_numpy(biases)
            hidden = functional.conv2d(hidden, kernel, bias, padding=KERNEL // 2)
            hidden = functional.max_pool2d(functional.relu(hidden), 2)
        hidden = hidden.flatten(1)
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ torch.from_numpy(weights) + torch.from_numpy(biases)
            if number < len(self.layers) - 1:
                hidden = functional.relu(hidden)
        return np.asarray(hidden.numpy())


def _convert(scope: Any, operator: Any, container: Any) -> None:
    network: ConvolutionalNetwork = operator.raw_operator
    add = Nodes(scope, container)
    factor, shift = (np.array([each], dtype=np.float32) for each in network.scale)
    shape = np.array([-1, *network.shape], dtype=np.int64)
    hidden = add("Reshape", operator.inputs[0].full_name, shape)
    hidden = add("Transpose", hidden, perm=[0, 3, 1, 2])
    hidden = add("Add", add("Mul", hidden, factor), shift)
    for weights, biases in network.convolutions:
        hidden = add("Conv", hidden, weights, biases, pads=[KERNEL // 2] * 4)
        hidden = add("MaxPool", add("Relu", hidden), kernel_shape=[2, 2], strides=[2, 2])
    flat = (add("Flatten", hidden), FloatTensorType([None, len(network.layers[0][0])]))
    version = {"op_version": container.target_opset}
    finish(dense(flat, network.layers, version), operator, scope, container)


def register_convolution_converter() -> None:
    """Teach skl2onnx to convert `ConvolutionalNetwork`; again is harmless."""
    register(ConvolutionalNetwork, _convert)
