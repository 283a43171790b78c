"""Nodes for graphs that skl2onnx converts; its algebra can't tell the types of all of them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from onnx import TensorProto, numpy_helper

Operand = str | npt.NDArray[Any]
"""The name of a tensor, or a constant."""


class Nodes:
    """Adds nodes to a graph.

    Args:
        scope: Gives unique names.
        container: Takes the nodes; both are skl2onnx's, which has no types.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """The name of what a node of `kind` gives for `inputs`; `output` asks for another."""
        opset = self._container.target_opset
        return self._add(kind, inputs, {"op_version": opset, **attributes})

    def learned(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """The same for a node of ai.onnx.ml."""
        version = self._container.target_opset_any_domain("ai.onnx.ml")
        domain = {"op_domain": "ai.onnx.ml", "op_version": version}
        return self._add(kind, inputs, {**domain, **attributes})

    def beyond(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """The same for a node that every ONNX Runtime has beyond ONNX."""
        domain = {"op_domain": "com.microsoft", "op_version": 1}
        return self._add(kind, inputs, {**domain, **attributes})

    def _add(self, kind: str, inputs: tuple[Operand, ...], attributes: dict[str, Any]) -> str:
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        unnamed = self._scope.get_unique_variable_name(kind.lower())
        output: str = attributes.pop("output", unnamed)
        node = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, names, output, name=node, **attributes)
        return output

    def _constant(self, value: npt.NDArray[Any]) -> str:
        if value.dtype == object:
            name: str = self._scope.get_unique_variable_name("constant")
            self._container.add_initializer(name, TensorProto.STRING, value.shape, value.tolist())
            return name
        known = value.dtype.str, value.shape, value.tobytes()
        if known not in self._constants:
            name = self._scope.get_unique_variable_name("constant")
            self._container.add_initializer(name, None, None, numpy_helper.from_array(value))
            self._constants[known] = name
        return self._constants[known]
