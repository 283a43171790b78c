"""A small dense network, by torch, checkpointed so that a resumed fit is bit-identical."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.trainer.adapters.learning.recipe import Encoding, FitTask, Fitted, Recipe
from services.trainer.core.abilities import TABULAR, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode
from services.trainer.core.tasks import Task

if TYPE_CHECKING:
    import torch

    from services.trainer.adapters.learning.epochs import Weights
    from services.trainer.adapters.learning.network import DenseNetwork, DenseRegressor


def fit(task: FitTask) -> Fitted:
    """Train for all epochs and keep the one with the lowest watched loss, else the last."""
    from services.trainer.adapters.learning.epochs import train_by_epochs

    return train_by_epochs(task, _network, lambda weights: _estimator(task, weights))


def _network(task: FitTask) -> torch.nn.Sequential:
    from torch import nn

    from services.trainer.adapters.learning.epochs import outputs_of

    hidden = task.whole("hidden_units")
    dropout = task.parameters["dropout"]
    return nn.Sequential(
        nn.Linear(task.rows.shape[1], hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden // 2),
        nn.ReLU(),
        nn.Linear(hidden // 2, outputs_of(task)),
    )


def _estimator(task: FitTask, weights: Weights) -> DenseNetwork | DenseRegressor:
    from services.trainer.adapters.learning.network import DenseNetwork, DenseRegressor

    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    layers = [
        (np.ascontiguousarray(weights[f"{name}.weight"].numpy().T), weights[f"{name}.bias"].numpy())
        for name in names
    ]
    return DenseRegressor(layers) if task.task is Task.REGRESSION else DenseNetwork(layers)


def teach_export() -> None:
    """Teach skl2onnx to convert the network."""
    from services.trainer.adapters.learning.network import register_network_converter

    register_network_converter()


RECIPE = Recipe(
    algorithm="mlp",
    rules={
        "hidden_units": ParameterRule(default=64, minimum=2, maximum=1024, whole=True),
        "epochs": ParameterRule(default=8, minimum=1, maximum=1000, whole=True),
        "batch_rows": ParameterRule(default=512, minimum=1, maximum=65_536, whole=True),
        "learning_rate": ParameterRule(default=1e-3, minimum=1e-6, maximum=1.0),
        "weight_decay": ParameterRule(default=1e-4, minimum=0.0, maximum=1.0),
        "dropout": ParameterRule(default=0.1, minimum=0.0, maximum=0.9),
    },
    encoding=Encoding.SCALED_ONE_HOT,
    ability=Ability(
        TABULAR, trains_privately=True, trains_in_parallel=True, accelerates=True, compiles=True
    ),
    fit=fit,
    teach_export=teach_export,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION, Mode.WARM_START, Mode.INCREMENTAL}),
)
