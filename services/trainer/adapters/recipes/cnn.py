"""A small convolutional network over images, by torch, checkpointed as `mlp` is.

The features are the pixels of one image, numbers all of them, in the order of the spec: line by
line, in a line by column, then by channel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.recipe import Encoding, FitTask, Fitted, Recipe
from services.trainer.core.abilities import CLASSIFICATION, Ability
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode

if TYPE_CHECKING:
    import torch

    from services.trainer.adapters.learning.convolution import ConvolutionalNetwork
    from services.trainer.adapters.learning.epochs import Weights

POOLINGS = 2
"""Each halves height and width."""

IMAGE = "image"
"""Among the weights: height, width, channels, what pixels are multiplied by and what is added."""


def fit(task: FitTask) -> Fitted:
    """Train for all epochs and keep the one with the lowest watched log loss, else the last."""
    from services.trainer.adapters.learning.epochs import train_by_epochs

    scale = _scale(task) if task.start is None else _scale_of(task, task.start[IMAGE])
    start = task.start and {name: each for name, each in task.start.items() if name != IMAGE}
    fitted = train_by_epochs(
        replace(task, start=start),
        partial(_network, scale=scale),
        lambda weights: _classifier(task, scale, weights),
    )
    image = np.array([*_shape(task), *scale])
    return replace(fitted, weights={**(fitted.weights or {}), IMAGE: image})


def _shape(task: FitTask) -> tuple[int, int, int]:
    return task.whole("height"), task.whole("width"), task.whole("channels")


def _scale(task: FitTask) -> tuple[float, float]:
    """Factor and summand that bring the pixels of the fitted rows to mean 0 and deviation 1."""
    mean = float(task.rows.mean(dtype=np.float64))
    deviation = float(task.rows.std(dtype=np.float64)) or 1.0
    return 1 / deviation, -mean / deviation


def _scale_of(task: FitTask, image: npt.NDArray[np.float64]) -> tuple[float, float]:
    """That of a start.

    Raises:
        UnusableParent: It is of images of another shape.
    """
    *shape, factor, summand = image.tolist()
    if tuple(shape) != _shape(task):
        raise UnusableParent(
            "parameters say {} x {} pixels of {} channels; ".format(*_shape(task))
            + "parent_version has learned {:g} x {:g} of {:g}".format(*shape)
        )
    return factor, summand


def _network(task: FitTask, scale: tuple[float, float]) -> torch.nn.Module:
    from torch import nn

    from services.trainer.adapters.learning.epochs import outputs_of

    height, width, channels = _shape(task)
    filters, hidden = task.whole("filters"), task.whole("hidden_units")
    pooled = (height // 2**POOLINGS) * (width // 2**POOLINGS)

    class Images(nn.Module):
        """Rows as images, scaled."""

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            images = rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
            return images * scale[0] + scale[1]

    return nn.Sequential(
        Images(),
        nn.Conv2d(channels, filters, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(filters, 2 * filters, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * filters * pooled, hidden),
        nn.ReLU(),
        nn.Dropout(task.parameters["dropout"]),
        nn.Linear(hidden, outputs_of(task)),
    )


def _classifier(
    task: FitTask, scale: tuple[float, float], weights: Weights
) -> ConvolutionalNetwork:
    from services.trainer.adapters.learning.convolution import ConvolutionalNetwork

    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    arrays = [
        (weights[f"{name}.weight"].numpy(), weights[f"{name}.bias"].numpy()) for name in names
    ]
    return ConvolutionalNetwork(
        _shape(task),
        scale,
        arrays[:POOLINGS],
        [(np.ascontiguousarray(matrix.T), biases) for matrix, biases in arrays[POOLINGS:]],
    )


def teach_export() -> None:
    """Teach skl2onnx to convert the network."""
    from services.trainer.adapters.learning.convolution import register_convolution_converter

    register_convolution_converter()


RECIPE = Recipe(
    algorithm="cnn",
    rules={
        "height": ParameterRule(default=28, minimum=4, maximum=512, whole=True),
        "width": ParameterRule(default=28, minimum=4, maximum=512, whole=True),
        "channels": ParameterRule(default=1, minimum=1, maximum=4, whole=True),
        "filters": ParameterRule(default=16, minimum=1, maximum=256, whole=True),
        "hidden_units": ParameterRule(default=64, minimum=2, maximum=1024, whole=True),
        "epochs": ParameterRule(default=15, minimum=1, maximum=1000, whole=True),
        "batch_rows": ParameterRule(default=64, minimum=1, maximum=65_536, whole=True),
        "learning_rate": ParameterRule(default=1e-3, minimum=1e-6, maximum=1.0),
        "weight_decay": ParameterRule(default=1e-4, minimum=0.0, maximum=1.0),
        "dropout": ParameterRule(default=0.1, minimum=0.0, maximum=0.9),
    },
    encoding=Encoding.ORDINAL,
    fit=fit,
    teach_export=teach_export,
    ability=Ability(
        CLASSIFICATION,
        reads_images=True,
        trains_privately=True,
        trains_in_parallel=True,
        accelerates=True,
        compiles=True,
    ),
    modes=frozenset({Mode.FULL, Mode.DISTILLATION, Mode.WARM_START, Mode.INCREMENTAL}),
)
