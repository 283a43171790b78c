"""What jobs can name in `MODE_PRUNING`, as recipes are for the other modes.

Each makes the graph of the parent itself smaller, so that it also becomes faster: weights that are
only set to 0 would gain neither. The service reads the rules alone; the rest is imported where it
is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.trainer.core.parameters import ParameterRule, Parameters, Rules
from services.trainer.core.parents import Mode
from services.trainer.core.tables import Table

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Pruner:
    """A way to leave parts of a model out.

    Attributes:
        rules: The parameters it takes.
        prune: Changes a model in place, given rows that the model may learn from;
            deterministic. Raises `UnusableParent` where there is nothing to leave out.
        modes: What jobs may use it for.
    """

    rules: Rules
    prune: Callable[[onnx.ModelProto, Table, Parameters], None]
    modes: frozenset[Mode] = frozenset({Mode.PRUNING})


def pruned(graph: bytes, rows: Table, algorithm: str, parameters: Parameters) -> bytes:
    """The graph without its least parts.

    Args:
        graph: ONNX.
        rows: Which show what counts least.
        algorithm: One of `PRUNERS`.
        parameters: All of its rules.

    Raises:
        UnusableParent: There is nothing in it that this could leave out.
    """
    import onnx

    model = onnx.load_from_string(graph)
    # Shapes that were inferred are those of the whole model.
    del model.graph.value_info[:]
    PRUNERS[algorithm].prune(model, rows, parameters)
    return bytes(model.SerializeToString(deterministic=True))


def _fewer_trees(model: onnx.ModelProto, rows: Table, parameters: Parameters) -> None:
    from services.trainer.adapters.pruning.trees import fewer_trees

    fewer_trees(model, rows, parameters)


def _shallower_trees(model: onnx.ModelProto, rows: Table, parameters: Parameters) -> None:
    from services.trainer.adapters.pruning.trees import shallower_trees

    shallower_trees(model, rows, parameters)


def _fewer_units(model: onnx.ModelProto, rows: Table, parameters: Parameters) -> None:
    from services.trainer.adapters.pruning.units import fewer_units

    fewer_units(model, rows, parameters)


PRUNERS: Final[Mapping[str, Pruner]] = {
    "fewer_trees": Pruner({"share": ParameterRule(0.5, minimum=0.001, maximum=1)}, _fewer_trees),
    "fewer_units": Pruner(
        {
            "share": ParameterRule(0.5, minimum=0.001, maximum=1),
            "refit": ParameterRule(1, minimum=0, maximum=1, whole=True),
        },
        _fewer_units,
    ),
    "shallower_trees": Pruner(
        {"max_depth": ParameterRule(5, minimum=1, maximum=30, whole=True)}, _shallower_trees
    ),
}
