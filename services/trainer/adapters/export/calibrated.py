"""A calibration inside an ONNX graph, so that whoever runs the graph gets what it promises."""

from __future__ import annotations

from typing import Any, Final, assert_never

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from services.trainer.adapters.export.runtime import PROBABILITIES, GraphModel
from services.trainer.core.calibration_maps import (
    CalibrationMap,
    OneVsRestMap,
    PiecewiseMap,
    SigmoidMap,
    SoftmaxMap,
)
from services.trainer.core.objectives import Objective
from services.trainer.core.scores import Scores
from services.trainer.core.tables import Table

LABEL: Final = "label"
OWN: Final = "calibration/"
"""Begins the name of everything that a calibration adds to a graph."""

_AXES_ARE_INPUTS: Final = 13
"""Version of the operators from which a sum gets its axes so."""

_RENAMED: Final = {name: f"{OWN}un{name}" for name in (LABEL, PROBABILITIES)}


def calibrated_graph(graph: bytes, calibration: CalibrationMap) -> bytes:
    """`graph` with its probabilities calibrated, and the label that they make likelier.

    Inputs and outputs are the same; `uncalibrated_graph` gives `graph` back.

    Args:
        graph: ONNX that gives `label` int64 [rows] and `probabilities` float32 [rows, classes].
        calibration: Of its probabilities.
    """
    model = onnx.ModelProto.FromString(graph)
    _rename(model, _RENAMED)
    added = _Added(model)
    _calibrated(added, calibration)
    added.node("ArgMax", PROBABILITIES, axis=1, keepdims=0, to=LABEL)
    model.graph.node.extend(added.nodes)
    model.graph.initializer.extend(added.constants)
    return model.SerializeToString(deterministic=True)


def uncalibrated_graph(graph: bytes) -> bytes | None:
    """`graph` as it was before its calibration; None where it has none."""
    model = onnx.ModelProto.FromString(graph)
    kept = [node for node in model.graph.node if not node.name.startswith(OWN)]
    if len(kept) == len(model.graph.node):
        return None
    constants = [each for each in model.graph.initializer if not each.name.startswith(OWN)]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)
    _rename(model, {new: old for old, new in _RENAMED.items()})
    return model.SerializeToString(deterministic=True)


def uncalibrated_scores(
    graph: bytes, table: Table, objective: Objective, threads: int
) -> Scores | None:
    """What a graph would score on `table` without its calibration; None where it has none."""
    bare = uncalibrated_graph(graph)
    if bare is None:
        return None
    return objective.score(table.label, GraphModel(bare, threads).predicted(table))


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Give values inside the graph other names; its outputs keep theirs."""
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]


class _Added:
    """Nodes and constants to be added to a graph.

    Args:
        model: That the graph is of; it may declare an old version of the operators.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        (self._opset,) = (each.version for each in model.opset_import if not each.domain)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """One more node; gives the name of what it computes."""
        name = f"{OWN}{len(self.nodes)}"
        output = to or f"{name}/value"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def sum(self, values: str) -> str:
        """[rows, 1]: the sum of each row of `values`."""
        if self._opset < _AXES_ARE_INPUTS:
            return self.node("ReduceSum", values, axes=[1])
        return self.node("ReduceSum", values, self.whole([1]))

    def real(self, values: npt.ArrayLike) -> str:
        """A constant of float32."""
        return self._constant(np.asarray(values, dtype=np.float32))

    def whole(self, values: npt.ArrayLike) -> str:
        """A constant of int64."""
        return self._constant(np.asarray(values, dtype=np.int64))

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = f"{OWN}constant/{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _calibrated(added: _Added, calibration: CalibrationMap) -> None:
    """Add what makes `PROBABILITIES`."""
    match calibration:
        case SigmoidMap():
            _both(added, _sigmoid(added, _of_class(added, 1), calibration))
        case PiecewiseMap():
            _both(added, _piecewise(added, _of_class(added, 1), calibration))
        case SoftmaxMap():
            _softmax(added, calibration)
        case OneVsRestMap():
            _one_vs_rest(added, calibration)
        case _ as never:
            assert_never(never)


def _of_class(added: _Added, number: int) -> str:
    """[rows, 1]: the probability of a class before its calibration."""
    return added.node("Gather", _RENAMED[PROBABILITIES], added.whole([number]), axis=1)


def _both(added: _Added, positive: str) -> None:
    negative = added.node("Sub", added.real([1.0]), positive)
    added.node("Concat", negative, positive, axis=1, to=PROBABILITIES)


def _softmax(added: _Added, calibration: SoftmaxMap) -> None:
    softened = added.node("Add", _RENAMED[PROBABILITIES], added.real([calibration.softening]))
    stretched = added.node("Mul", added.node("Log", softened), added.real([calibration.slope]))
    shifted = added.node("Add", stretched, added.real(calibration.shifts))
    added.node("Softmax", shifted, axis=1, to=PROBABILITIES)


def _one_vs_rest(added: _Added, calibration: OneVsRestMap) -> None:
    each = [
        _piecewise(added, _of_class(added, number), curve)
        for number, curve in enumerate(calibration.curves)
    ]
    worth = added.node("Concat", *each, axis=1)
    total = added.sum(worth)
    added.node("Div", worth, total, to=PROBABILITIES)


def _sigmoid(added: _Added, score: str, calibration: SigmoidMap) -> str:
    """[rows, 1]: logistic of the stretched and shifted log odds of `score`."""
    softening = added.real([calibration.softening])
    for_ = added.node("Add", score, softening)
    against = added.node("Add", added.node("Sub", added.real([1.0]), score), softening)
    odds = added.node("Log", added.node("Div", for_, against))
    stretched = added.node("Mul", odds, added.real([calibration.slope]))
    shifted = added.node("Add", stretched, added.real([calibration.intercept]))
    return added.node("Sigmoid", shifted)


def _piecewise(added: _Added, score: str, calibration: PiecewiseMap) -> str:
    """[rows, 1]: the first knot's probability, and what each line that was passed has added."""
    knots = np.array(calibration.scores)
    probabilities = np.array(calibration.probabilities)
    widths = np.diff(knots)
    beyond = added.node("Relu", added.node("Sub", score, added.real(knots[:-1])))
    passed = added.node("Min", beyond, added.real(widths))
    # No matrix product: quantising the graph would round its constants.
    rises = added.node("Mul", passed, added.real(np.diff(probabilities) / widths))
    summed = added.node("Add", added.sum(rises), added.real(probabilities[:1]))
    return added.node("Max", added.node("Min", summed, added.real([1.0])), added.real([0.0]))
