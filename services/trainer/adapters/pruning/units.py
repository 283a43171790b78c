"""Networks with fewer hidden units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from services.trainer.adapters.pruning.activations import held, some_rows
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parameters import Parameters
from services.trainer.core.tables import Table

RIDGE: Final = 1e-6
"""Of the mean square of the activations: keeps units that say the same from cancelling."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A hidden layer: the product that makes it, its rectifier, and the product that reads it."""

    made: onnx.NodeProto
    rectified: onnx.NodeProto
    read: onnx.NodeProto


def fewer_units(model: onnx.ModelProto, rows: Table, parameters: Parameters) -> None:
    """Keep the units of each hidden layer that move the next one most, in place.

    A unit counts by the deviation of its activation times the norm of the weights that read it.
    What it gives on average moves into the next layer's bias; with `refit`, that layer's weights
    become those that give, from the units that stay, nearest to what it was given by all of them
    (least squares over the rows, as ThiNet does; Luo et al., ICCV 2017).

    Raises:
        UnusableParent: There is no hidden layer of two units.
    """
    layers = _layers(model)
    if not layers:
        kinds = ", ".join(sorted({node.op_type for node in model.graph.node}))
        raise UnusableParent(
            "parent_version has no hidden units to prune, as that of mlp has: its graph has "
            f"{kinds}"
        )
    seen = some_rows(rows)
    wanted = held(model, [layer.read.output[0] for layer in layers], seen)
    for layer, target in zip(layers, wanted, strict=True):
        # The layers before have been pruned by now: what this one holds is what they leave of it.
        (activation,) = held(model, [layer.rectified.output[0]], seen)
        _prune(model, layer, activation.astype(np.float64), target.astype(np.float64), parameters)


def _layers(model: onnx.ModelProto) -> list[_Hidden]:
    """Hidden layers from input to output."""
    constants = {found.name for found in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = []
    for made in model.graph.node:
        rectified = _only(readers, made, "Relu")
        read = None if rectified is None else _only(readers, rectified, "Gemm")
        if rectified is None or read is None or made.op_type != "Gemm" or not _is_plain(made):
            continue
        if constants >= {*made.input[1:3], *read.input[1:3]} and len(read.input) > 2:
            weights = _constant(model, made.input[1])
            if len(made.input) > 2 and weights.shape[1] > 1:
                layers.append(_Hidden(made, rectified, read))
    return layers


def _only(
    readers: dict[str, list[onnx.NodeProto]], node: onnx.NodeProto, kind: str
) -> onnx.NodeProto | None:
    """What alone reads the output of `node`, if it is of a kind and a plain product."""
    found = readers.get(node.output[0], [])
    if len(found) != 1 or found[0].op_type != kind or found[0].input[0] != node.output[0]:
        return None
    return found[0] if _is_plain(found[0]) else None


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether it has its usual attributes: neither transposed nor scaled."""
    return all(
        onnx.helper.get_attribute_value(each) == (1.0 if each.name in ("alpha", "beta") else 0)
        for each in node.attribute
    )


def _prune(
    model: onnx.ModelProto,
    layer: _Hidden,
    activation: Floats,
    target: Floats,
    parameters: Parameters,
) -> None:
    reading = _constant(model, layer.read.input[1]).astype(np.float64)
    bias = _constant(model, layer.read.input[2]).astype(np.float64)
    counts = activation.std(axis=0) * np.linalg.norm(reading, axis=1)
    wanted = max(1, round(parameters["share"] * len(counts)))
    # Of equals the first: the same rows give the same graph.
    kept = np.sort(np.argsort(-counts, kind="stable")[:wanted])
    dropped = np.setdiff1d(np.arange(len(counts)), kept)
    bias = bias + activation[:, dropped].mean(axis=0) @ reading[dropped]
    reading = reading[kept]
    if parameters["refit"]:
        reading, bias = _refitted(activation[:, kept], target)
    _replace(model, layer.made.input[1], _constant(model, layer.made.input[1])[:, kept])
    _replace(model, layer.made.input[2], _constant(model, layer.made.input[2]).ravel()[kept])
    _replace(model, layer.read.input[1], reading)
    _replace(model, layer.read.input[2], bias)


def _refitted(activation: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Weights and bias that give nearest to `target` from `activation`, by ridge regression."""
    mean, aim = activation.mean(axis=0), target.mean(axis=0)
    centred = activation - mean
    gram = centred.T @ centred
    ridge = RIDGE * max(float(np.trace(gram)) / len(gram), np.finfo(np.float64).tiny)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), centred.T @ (target - aim))
    return weights, aim - mean @ weights


def _constant(model: onnx.ModelProto, name: str) -> npt.NDArray[np.float32]:
    found = next(each for each in model.graph.initializer if each.name == name)
    return numpy_helper.to_array(found)


def _replace(model: onnx.ModelProto, name: str, values: Floats | npt.NDArray[np.float32]) -> None:
    found = next(each for each in model.graph.initializer if each.name == name)
    found.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
