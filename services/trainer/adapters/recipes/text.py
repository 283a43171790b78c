"""Texts, read by a pretrained encoder that stays, learns, or gets low-rank additions, by torch.

The text is the only feature. A linear layer over the mean of what the encoder makes of the tokens
tells the classes. Checkpointed as `mlp` is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from services.trainer.adapters.learning.pretrained import Encoder
from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Matrix,
    Recipe,
)
from services.trainer.core.abilities import CLASSIFICATION, Ability
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parameters import ParameterRule, Rules
from services.trainer.core.parents import Mode

if TYPE_CHECKING:
    import torch

    from services.trainer.adapters.learning.epochs import Weights
    from services.trainer.adapters.learning.native import Tensors
    from services.trainer.adapters.learning.network import Layer
    from services.trainer.adapters.learning.transformer import TextNetwork

ADAPTED: Final = ("attention.self.query.weight", "attention.self.value.weight")
"""Matrices of each layer that get low-rank additions, as Hu et al. chose (LoRA, 2021)."""

HEAD: Final = "head"
SCALE: Final = "scale"
"""Among the weights of `text_lora`: what its additions are multiplied by."""

ADDITION_DEVIATION: Final = 0.02
"""Of the random half of an addition at the start, as BERT's own weights began."""


def fit_frozen(task: FitTask) -> Fitted:
    """Train the linear layer alone: what the encoder gives is made once.

    Keeps the epoch with the lowest watched log loss, else the last, as the others do.
    """
    from services.trainer.adapters.learning.epochs import train_by_epochs
    from services.trainer.adapters.learning.network import DenseNetwork
    from services.trainer.adapters.learning.transformer import TextNetwork, embedded

    encoder = _encoder(task)
    tensors, shape, padding = encoder.weights(), encoder.shape, encoder.tokenizer.padding
    watched = task.watch_rows
    read = replace(
        task,
        rows=embedded(tensors, task.rows, shape, padding),
        watch_rows=None if watched is None else embedded(tensors, watched, shape, padding),
    )

    def head(_: FitTask) -> torch.nn.Module:
        from torch import nn

        return nn.Sequential(nn.Dropout(task.parameters["dropout"]), _head(task, shape.width))

    def classifier(weights: Weights) -> DenseNetwork:
        return DenseNetwork([_layer(weights, "1")])

    fitted = train_by_epochs(read, head, classifier)
    network = TextNetwork(tensors, shape, padding, fitted.estimator.layers)
    return replace(fitted, estimator=network)


def fit_full(task: FitTask) -> Fitted:
    """Train every weight of the encoder with the linear layer."""
    tensors = _encoder(task).weights()
    return _fit(task, {}, tensors, lambda learned, _: learned)


def fit_lora(task: FitTask) -> Fitted:
    """Train additions of low rank to what attention asks and answers, and the linear layer."""
    tensors = _encoder(task).weights()
    scale = task.parameters["alpha"] / task.parameters["rank"]
    start = None if task.start is None else dict(task.start)
    if start is not None:
        _check_scale(start.pop(SCALE).item(), scale)
    adapted = [name for name in tensors if name.endswith(ADAPTED)]
    random = np.random.default_rng(task.seed)
    additions: dict[str, Matrix] = {}
    rank = task.whole("rank")
    for name in adapted:
        outputs, inputs = tensors[name].shape
        drawn = random.normal(0, ADDITION_DEVIATION, (rank, inputs))
        additions[f"{name}/down"] = drawn.astype(np.float32)
        additions[f"{name}/up"] = np.zeros((outputs, rank), dtype=np.float32)

    def added(learned: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: frozen[name] + learned[f"{name}/up"] @ learned[f"{name}/down"] * scale
            for name in adapted
        }

    fitted = _fit(replace(task, start=start), tensors, additions, added)
    weights = {**(fitted.weights or {}), SCALE: np.array([scale])}
    return replace(fitted, weights=weights)


def _check_scale(theirs: float, scale: float) -> None:
    if theirs != scale:
        raise UnusableParent(
            f"parameters multiply additions by alpha / rank = {scale:g}; those of parent_version "
            f"by {theirs:g}: name the parameters that made it"
        )


def _fit(
    task: FitTask,
    frozen: Tensors,
    learned: Tensors,
    made: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]],
) -> Fitted:
    """Train `learned`; `made` makes weights of the encoder of it and of those that are `frozen`.

    `made` is given tensors of torch while it trains, and arrays afterwards.
    """
    import torch
    from torch import nn

    from services.trainer.adapters.learning.epochs import train_by_epochs
    from services.trainer.adapters.learning.transformer import TextNetwork, pooled

    encoder = _encoder(task)
    shape, padding = encoder.shape, encoder.tokenizer.padding

    class Texts(nn.Module):
        """The encoder and the linear layer; its state is what it learns."""

        def __init__(self) -> None:
            super().__init__()
            self.learned = nn.ParameterDict(
                {_key(name): torch.from_numpy(values).clone() for name, values in learned.items()}
            )
            self.dropout = nn.Dropout(task.parameters["dropout"])
            self.head = _head(task, shape.width)
            for name, values in frozen.items():
                # Goes where the network goes, and is in no checkpoint.
                self.register_buffer(_key(name), torch.from_numpy(values), persistent=False)

        def forward(self, rows: torch.Tensor) -> Any:
            mine = {name: self.learned[_key(name)] for name in learned}
            kept = {name: self.get_buffer(_key(name)) for name in frozen}
            texts = pooled({**kept, **made(mine, kept)}, rows, shape, padding)
            return self.head(self.dropout(texts))

    def classifier(weights: Weights) -> TextNetwork:
        mine = {name: weights[f"learned.{_key(name)}"].numpy() for name in learned}
        tensors = {**frozen, **made(mine, frozen)}
        return TextNetwork(tensors, shape, padding, [_layer(weights, HEAD)])

    return train_by_epochs(task, lambda _: Texts(), classifier)


def _encoder(task: FitTask) -> Encoder:
    assert task.encoder is not None, "a spec with a text names its encoder"
    return task.encoder


def _head(task: FitTask, width: int) -> torch.nn.Linear:
    from torch import nn

    from services.trainer.adapters.learning.epochs import outputs_of

    return nn.Linear(width, outputs_of(task))


def _layer(weights: Weights, name: str) -> Layer:
    matrix = np.ascontiguousarray(weights[f"{name}.weight"].numpy().T)
    return matrix, weights[f"{name}.bias"].numpy()


def _key(name: str) -> str:
    """A name that torch takes: to it, dots part a module from what is in it."""
    return name.replace(".", "/")


def teach_export() -> None:
    """Teach skl2onnx to convert the tokenizer and the network."""
    from services.trainer.adapters.learning.transformer import register_text_converter
    from services.trainer.adapters.learning.wordpiece_graph import register_tokens_converter

    register_tokens_converter()
    register_text_converter()


def _rules(epochs: int, learning_rate: float, more: Rules) -> Rules:
    return {
        **more,
        "epochs": ParameterRule(default=epochs, minimum=1, maximum=1000, whole=True),
        "batch_rows": ParameterRule(default=32, minimum=1, maximum=1024, whole=True),
        "learning_rate": ParameterRule(default=learning_rate, minimum=1e-7, maximum=1.0),
        "weight_decay": ParameterRule(default=0.01, minimum=0.0, maximum=1.0),
        "dropout": ParameterRule(default=0.1, minimum=0.0, maximum=0.9),
    }


def _recipe(
    algorithm: str, rules: Rules, fit: Callable[[FitTask], Fitted], *, accelerates: bool = True
) -> Recipe:
    return Recipe(
        algorithm=algorithm,
        rules=rules,
        encoding=Encoding.TOKENS,
        fit=fit,
        teach_export=teach_export,
        ability=Ability(CLASSIFICATION, reads_text=True, accelerates=accelerates),
        modes=frozenset({Mode.FULL, Mode.DISTILLATION, Mode.WARM_START, Mode.INCREMENTAL}),
    )


FROZEN = _recipe("text_frozen", _rules(60, 5e-3, {}), fit_frozen, accelerates=False)
LORA = _recipe(
    "text_lora",
    _rules(
        3,
        5e-4,
        {
            "rank": ParameterRule(default=8, minimum=1, maximum=256, whole=True),
            "alpha": ParameterRule(default=16, minimum=0.001, maximum=4096),
        },
    ),
    fit_lora,
)
FULL = _recipe("text_full", _rules(3, 3e-5, {}), fit_full)
