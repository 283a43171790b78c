"""ONNX graphs: of built-in operators only, with weights that are in the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

_BUILT_IN: Final = frozenset(
    {
        *("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"),
        "com.microsoft",
    }
)
"""Operator sets that ONNX Runtime has without another library."""

_REACHING_OUT: Final = frozenset({"PythonOp", "PythonOpGrad", "EPContext"})
"""Operators of `com.microsoft` that call Python or load what another program compiled."""


def onnx_fault(path: str, content: bytes, sizes: Mapping[str, int]) -> str | None:
    """Why the graph may not be loaded; None if it may.

    Args:
        path: Of the graph in its bundle.
        content: The serialized model.
        sizes: Bytes of each file of the bundle, by path.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return "it is no ONNX model"
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        fault = _node_fault(node, own)
        if fault is not None:
            return fault
    for tensor in _tensors(model):
        fault = _tensor_fault(tensor, PurePosixPath(path).parent, sizes)
        if fault is not None:
            return fault
    return None


def _node_fault(node: Any, own: set[tuple[str, str]]) -> str | None:
    name = f"{node.domain or 'ai.onnx'}.{node.op_type}"
    if node.domain not in _BUILT_IN and (node.domain, node.op_type) not in own:
        return f"its operator {name} needs a library of native code"
    if node.domain == "com.microsoft" and node.op_type in _REACHING_OUT:
        return f"its operator {name} runs code from outside the graph"
    return None


def _tensor_fault(tensor: Any, folder: PurePosixPath, sizes: Mapping[str, int]) -> str | None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
        return None
    where = {entry.key: entry.value for entry in tensor.external_data}
    location = where.get("location", "")
    parts = PurePosixPath(location).parts
    if not parts or location.startswith(("/", "~")) or "\\" in location or ".." in parts:
        return f"its tensor {tensor.name!r} lies at {location!r}, outside the bundle"
    file = str(folder / location)
    if file not in sizes:
        return f"its tensor {tensor.name!r} lies in {file}, which the bundle lacks"
    try:
        offset, length = int(where.get("offset", "0")), int(where.get("length", "0"))
    except ValueError:
        return f"its tensor {tensor.name!r} has no readable place in {file}"
    if offset < 0 or length < 0 or offset + length > sizes[file]:
        return f"its tensor {tensor.name!r} ends behind the {sizes[file]} bytes of {file}"
    return None


def _nodes(model: Any) -> Iterator[Any]:
    """Every node, also of subgraphs, functions and training graphs."""
    waiting = [
        *model.graph.node,
        *(node for function in model.functions for node in function.node),
        *(node for graph in _training_graphs(model) for node in graph.node),
    ]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            waiting.extend(attribute.g.node)
            waiting.extend(inner for graph in attribute.graphs for inner in graph.node)


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor: initializers of all graphs, and attributes."""
    yield from _graph_tensors(model.graph)
    for graph in _training_graphs(model):
        yield from _graph_tensors(graph)
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _training_graphs(model: Any) -> Iterator[Any]:
    for info in model.training_info:
        yield from (info.initialization, info.algorithm)
