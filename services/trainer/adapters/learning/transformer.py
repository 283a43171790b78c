"""BERT by torch, and a classifier of texts that skl2onnx can convert."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from skl2onnx.common.data_types import FloatTensorType

from services.trainer.adapters.learning.epochs import one_thread
from services.trainer.adapters.learning.native import Tensors
from services.trainer.adapters.learning.network import (
    Layer,
    NetworkClassifier,
    dense,
    finish,
    register,
)
from services.trainer.adapters.learning.nodes import Nodes
from services.trainer.adapters.learning.pretrained import BertShape
from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.tables import TWO_CLASSES

if TYPE_CHECKING:
    import torch

    Parameters: TypeAlias = Mapping[str, torch.Tensor]

BATCH_ROWS: Final = 32
"""Of one run. Texts of like length are run together: what fills them up costs as much as they."""

HIDDEN: Final = np.float32(-1e9)
"""Added to what a token makes of the padding: its share becomes 0 exactly."""


def pooled(tensors: Parameters, tokens: torch.Tensor, shape: BertShape, padding: int) -> Any:
    """float32 [texts, width]: the mean of what the encoder makes of each token of a text.

    Args:
        tensors: By the names of `weight_shapes`.
        tokens: Whole numbers as float32 [texts, longest], filled up with `padding`.
        shape: Of the encoder.
        padding: Token that is none.
    """
    from torch.nn import functional

    def linear(hidden: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(hidden, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def normalized(hidden: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.layer_norm(hidden, (shape.width,), weight, bias, shape.epsilon)

    def by_head(hidden: torch.Tensor) -> torch.Tensor:
        return hidden.view(texts, length, shape.heads, -1).transpose(1, 2)

    mask = tokens != padding
    length = max(1, int(mask.sum(dim=1).max()))
    ids, mask = tokens[:, :length].long(), mask[:, :length]
    texts = len(ids)
    ignored = (~mask).float()[:, None, None, :] * float(HIDDEN)
    words = functional.embedding(ids, tensors["embeddings.word_embeddings.weight"])
    places = tensors["embeddings.position_embeddings.weight"][:length]
    kind = tensors["embeddings.token_type_embeddings.weight"][0]
    hidden = normalized(words + places + kind, "embeddings.LayerNorm")
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        own = f"{layer}.attention.self"
        query, key, value = (
            by_head(linear(hidden, f"{own}.{name}")) for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(2, 3) * (1 / math.sqrt(shape.width // shape.heads))
        seen = ((scores + ignored).softmax(dim=3) @ value).transpose(1, 2).flatten(2)
        seen = linear(seen, f"{layer}.attention.output.dense")
        hidden = normalized(hidden + seen, f"{layer}.attention.output.LayerNorm")
        inner = functional.gelu(linear(hidden, f"{layer}.intermediate.dense"))
        inner = linear(inner, f"{layer}.output.dense")
        hidden = normalized(hidden + inner, f"{layer}.output.LayerNorm")
    weights = mask.float()[:, :, None]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def embedded(tensors: Tensors, rows: Matrix, shape: BertShape, padding: int) -> Matrix:
    """`pooled` of any number of rows, on one thread; the same bits for the same rows."""
    import torch

    order = np.argsort((rows != padding).sum(axis=1), kind="stable")
    found = np.empty((len(rows), shape.width), dtype=np.float32)
    weights = {name: torch.from_numpy(values) for name, values in tensors.items()}
    with one_thread(), torch.inference_mode():
        for start in range(0, len(rows), BATCH_ROWS):
            chosen = order[start : start + BATCH_ROWS]
            tokens = torch.from_numpy(np.ascontiguousarray(rows[chosen]))
            found[chosen] = pooled(weights, tokens, shape, padding).numpy()
    return found


class TextNetwork(NetworkClassifier):
    """An encoder, and dense layers over the mean of what it makes of a text's tokens.

    Args:
        tensors: Of the encoder.
        shape: Of the encoder.
        padding: Token that is none.
        layers: From what the encoder gives to output.
    """

    def __init__(
        self, tensors: Tensors, shape: BertShape, padding: int, layers: list[Layer]
    ) -> None:
        self.tensors = tensors
        self.shape = shape
        self.padding = padding
        self.layers = layers
        self.classes_ = np.arange(max(len(TWO_CLASSES), len(layers[-1][1])))

    def logits(self, rows: Matrix) -> Matrix:
        """See `NetworkClassifier`."""
        hidden = embedded(self.tensors, rows, self.shape, self.padding)
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ weights + biases
            if number < len(self.layers) - 1:
                hidden = np.maximum(hidden, 0)
        return hidden


def _convert(scope: Any, operator: Any, container: Any) -> None:
    network: TextNetwork = operator.raw_operator
    texts = _Graph(Nodes(scope, container), network).pooled(operator.inputs[0].full_name)
    version = {"op_version": container.target_opset}
    shape = FloatTensorType([None, network.shape.width])
    finish(dense((texts, shape), network.layers, version), operator, scope, container)


class _Graph:
    """Adds the nodes of `pooled`."""

    def __init__(self, nodes: Nodes, network: TextNetwork) -> None:
        self._add = nodes
        self._tensors = network.tensors
        self._shape = network.shape
        self._padding = network.padding

    def pooled(self, rows: str) -> str:
        """float32 [texts, width] for tokens, float32 [texts, most]."""
        add, tensors = self._add, self._tensors
        filled = add("Equal", rows, np.array(self._padding, dtype=np.float32))
        known = add("Sub", np.array(1, dtype=np.float32), add("Cast", filled, to=1))
        lengths = add("ReduceSum", known, np.array([1]), keepdims=0)
        longest = add("Cast", add("ReduceMax", lengths, keepdims=0), to=7)
        longest = add("Reshape", longest, np.array([1]))
        bounds = np.array([0]), longest, np.array([1])
        tokens = add("Cast", add("Slice", rows, *bounds), to=7)
        known = add("Slice", known, *bounds)
        ignored = add("Sub", np.array(1, dtype=np.float32), known)
        ignored = add("Unsqueeze", add("Mul", ignored, np.array(HIDDEN)), np.array([1, 2]))
        words = add("Gather", tensors["embeddings.word_embeddings.weight"], tokens, axis=0)
        kind = tensors["embeddings.token_type_embeddings.weight"][0]
        every = tensors["embeddings.position_embeddings.weight"]
        places = add("Slice", every, np.array([0]), longest, np.array([0]))
        hidden = add("Add", add("Add", words, places), kind)
        hidden = self._normalized(hidden, "embeddings.LayerNorm")
        for number in range(self._shape.layers):
            hidden = self._layer(hidden, ignored, f"encoder.layer.{number}")
        weights = add("Unsqueeze", known, np.array([2]))
        total = add("ReduceSum", add("Mul", hidden, weights), np.array([1]), keepdims=0)
        return add("Div", total, add("ReduceSum", weights, np.array([1]), keepdims=0))

    def _layer(self, hidden: str, ignored: str, name: str) -> str:
        add = self._add
        own = f"{name}.attention.self"
        query, key, value = (
            self._by_head(hidden, f"{own}.{each}") for each in ("query", "key", "value")
        )
        scores = add("MatMul", query, add("Transpose", key, perm=[0, 1, 3, 2]))
        scale = 1 / math.sqrt(self._shape.width // self._shape.heads)
        scores = add("Mul", scores, np.array(scale, dtype=np.float32))
        shares = add("Softmax", add("Add", scores, ignored), axis=3)
        seen = add("Transpose", add("MatMul", shares, value), perm=[0, 2, 1, 3])
        seen = add("Reshape", seen, np.array([0, 0, self._shape.width]))
        seen = self._linear(seen, f"{name}.attention.output.dense")
        hidden = self._normalized(add("Add", hidden, seen), f"{name}.attention.output.LayerNorm")
        inner = add("Gelu", self._linear(hidden, f"{name}.intermediate.dense"))
        inner = self._linear(inner, f"{name}.output.dense")
        return self._normalized(add("Add", hidden, inner), f"{name}.output.LayerNorm")

    def _by_head(self, hidden: str, name: str) -> str:
        shape = np.array([0, 0, self._shape.heads, self._shape.width // self._shape.heads])
        found = self._add("Reshape", self._linear(hidden, name), shape)
        return self._add("Transpose", found, perm=[0, 2, 1, 3])

    def _linear(self, hidden: str, name: str) -> str:
        weights = np.ascontiguousarray(self._tensors[f"{name}.weight"].T)
        found = self._add("MatMul", hidden, weights)
        return self._add("Add", found, self._tensors[f"{name}.bias"])

    def _normalized(self, hidden: str, name: str) -> str:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        epsilon = self._shape.epsilon
        return self._add("LayerNormalization", hidden, weight, bias, axis=-1, epsilon=epsilon)


def register_text_converter() -> None:
    """Teach skl2onnx to convert `TextNetwork`; again is harmless."""
    register(TextNetwork, _convert)
