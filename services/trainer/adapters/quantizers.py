"""What jobs can name in `MODE_QUANTIZATION`, as recipes are for the other modes.

The service reads the rules alone; ONNX Runtime's quantiser is imported where it is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from services.trainer.core.abilities import TABULAR, Ability
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parameters import ParameterRule, Parameters, Rules
from services.trainer.core.parents import Mode
from services.trainer.core.tables import Table

if TYPE_CHECKING:
    import onnx

CALIBRATION_BATCH: Final = 256
_WARNINGS, _ERRORS = 2, 3
_WEIGHED: Final = ("MatMul", "Gemm")
_LOOKED_UP: Final = "Gather"
_WEIGHTS_AT: Final = {_LOOKED_UP: 0, **dict.fromkeys(_WEIGHED, 1)}
"""Which input of a node its weights are."""

_MATRIX: Final = 2
"""Dimensions."""

_PER_CHANNEL: Final = ParameterRule(default=1, minimum=0, maximum=1, whole=True)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A way to make weights smaller.

    Attributes:
        rules: The parameters it takes.
        quantize: Writes a model to a path, given rows to learn ranges of activations from;
            deterministic.
        modes: What jobs may use it for.
        ability: Of which versions it can make smaller ones.
    """

    rules: Rules
    quantize: Callable[[onnx.ModelProto, Path, Table, Parameters], None]
    modes: frozenset[Mode] = frozenset({Mode.QUANTIZATION})
    ability: Ability = field(default_factory=lambda: Ability(TABULAR))


def quantized(graph: bytes, rows: Table, algorithm: str, parameters: Parameters) -> bytes:
    """The graph with the constant weights of its matrix products, and of tokens, as 8-bit integers.

    Args:
        graph: ONNX.
        rows: From which ranges of activations are learned, by algorithms that learn them.
        algorithm: One of `QUANTIZERS`.
        parameters: All of its rules.

    Raises:
        UnusableParent: There is nothing to quantise in it.
    """
    import onnx
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load_from_string(graph)
    constants = {found.name for found in model.graph.initializer}
    weighed = [
        node for node in model.graph.node if node.op_type in _WEIGHED and node.input[1] in constants
    ]
    if not weighed:
        kinds = sorted({node.op_type for node in model.graph.node})
        raise UnusableParent(
            "parent_version has nothing to quantise: its graph has no matrix product with constant "
            f"weights, as that of mlp has, but {', '.join(kinds)}"
        )
    # The quantiser can't infer types past operators of ai.onnx.ml, which the preprocessing is of.
    del model.graph.value_info[:]
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in dict.fromkeys(node.input[0] for node in weighed)
    )
    # Pre-processing fuses nodes of images and transformers; here it would change nothing.
    add_pre_process_metadata(model)
    with tempfile.TemporaryDirectory(prefix="roundhouse-quantize-") as folder:
        target = Path(folder) / "model.onnx"
        QUANTIZERS[algorithm].quantize(model, target, rows, parameters)
        return target.read_bytes()


def _dynamic(model: onnx.ModelProto, target: Path, _: Table, parameters: Parameters) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before, weighing = _parted(model)
    quantize_dynamic(
        _alone(model, weighing),
        target,
        op_types_to_quantize=[*_WEIGHED, _LOOKED_UP],
        per_channel=bool(parameters["per_channel"]),
        # 7 bits: with 8, processors without VNNI saturate and compute something else.
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    small = onnx.load(target)
    _put_before(small.graph, before, model.graph)
    target.write_bytes(small.SerializeToString(deterministic=True))


def _parted(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Nodes that no weight has come to, and those that compute with weights or with what does.

    The first are the preprocessing. The quantiser infers the shapes of all that it is given, and
    onnx ends the process at some of a tokenizer's tables (1.23, LabelEncoder of strings to int64).
    """
    import onnx

    matrices = {
        found.name
        for found in model.graph.initializer
        if found.data_type == onnx.TensorProto.FLOAT and len(found.dims) == _MATRIX
    }
    before, weighing = [], []
    touched: set[str] = set()
    for node in model.graph.node:  # in the order of their computation, as ONNX asks
        place = _WEIGHTS_AT.get(node.op_type)
        if (place is not None and node.input[place] in matrices) or touched & set(node.input):
            weighing.append(node)
            touched |= {name for name in node.output if name}
        else:
            before.append(node)
    return before, weighing


def _alone(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    """A model of some nodes alone, whose inputs are what others gave them."""
    import onnx

    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.initializer[:], part.graph.input[:]
    part.graph.node.extend(nodes)
    made = {name for node in part.graph.node for name in node.output}
    read = dict.fromkeys(name for node in part.graph.node for name in node.input if name)
    constants = [each for each in model.graph.initializer if each.name in read]
    part.graph.initializer.extend(constants)
    known = made | {each.name for each in constants}
    typed = {each.name: each for each in model.graph.value_info}
    part.graph.input.extend(
        typed.get(name) or onnx.helper.make_empty_tensor_value_info(name)
        for name in read
        if name not in known
    )
    del part.graph.value_info[:]
    part.graph.value_info.extend(each for name, each in typed.items() if name in made)
    return part


def _put_before(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], whole: onnx.GraphProto
) -> None:
    """Have `graph`, made of a part of `whole`, begin with the nodes that the part was without."""
    nodes = list(nodes)
    known = {each.name for each in graph.initializer}
    read = {name for node in nodes for name in node.input} - known
    rest = list(graph.node)
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend([*nodes, *rest])
    graph.input.extend(whole.input)
    graph.initializer.extend(each for each in whole.initializer if each.name in read)


def _static(model: onnx.ModelProto, target: Path, rows: Table, parameters: Parameters) -> None:
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    wanted = int(parameters["calibration_rows"])
    chosen = np.unique(np.linspace(0, len(rows) - 1, wanted).astype(np.int64))
    # The graph that calibrates has initializers of its own that nothing uses, each a warning.
    onnxruntime.set_default_logger_severity(_ERRORS)
    quantize_static(
        model,
        target,
        _Batches(rows.take(chosen)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_WEIGHED),
        per_channel=bool(parameters["per_channel"]),
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    onnxruntime.set_default_logger_severity(_WARNINGS)


class _Batches:
    """What the quantiser calibrates on; it asks for no more than this method."""

    def __init__(self, rows: Table) -> None:
        self._batches = self._all(rows)

    def get_next(self) -> dict[str, Any] | None:  # arrays of float32 or of str
        return next(self._batches, None)

    @staticmethod
    def _all(rows: Table) -> Iterator[dict[str, Any]]:
        for start in range(0, len(rows), CALIBRATION_BATCH):
            yield {
                name: column[start : start + CALIBRATION_BATCH].reshape(-1, 1)
                for name, column in rows.features.items()
            }


QUANTIZERS: Final[Mapping[str, Quantizer]] = {
    "int8_dynamic": Quantizer(
        {"per_channel": _PER_CHANNEL}, _dynamic, ability=Ability(TABULAR, reads_text=True)
    ),
    "int8_static": Quantizer(
        {
            "per_channel": _PER_CHANNEL,
            "calibration_rows": ParameterRule(1000, minimum=10, maximum=100_000, whole=True),
        },
        _static,
    ),
}
