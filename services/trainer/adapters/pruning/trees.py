"""Ensembles of trees with fewer of them, or with lower ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from services.trainer.adapters.pruning.activations import held, some_rows
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parameters import Parameters
from services.trainer.core.tables import Table

_ENSEMBLE: Final = "TreeEnsembleClassifier"
_LEAF: Final = "LEAF"
_BRANCH: Final = "BRANCH_LEQ"


@dataclass(slots=True)
class _Node:
    """One node of a tree; `weights` by class, of a leaf."""

    place: int
    mode: str
    feature: int
    value: float
    yes: int
    no: int
    weights: dict[int, float] = field(default_factory=dict)
    rows: int = 0


_Tree = dict[int, _Node]


def fewer_trees(model: onnx.ModelProto, _: Table, parameters: Parameters) -> None:
    """Keep the first trees of an ensemble, in place.

    Those of boosting come in the order of what they add. Those of a forest are as good as each
    other; its answer is their mean, so that those which stay weigh more.

    Raises:
        UnusableParent: There are no two trees.
    """
    node = _ensemble(model)
    trees = _trees(node)
    if len(trees) < 2:
        raise UnusableParent("parent_version has a single tree; shallower_trees can prune it")
    kept = max(1, round(parameters["share"] * len(trees)))
    averages = _attribute(node, "post_transform").s == b"NONE"
    chosen = dict(list(trees.items())[:kept])
    if averages:
        for found in (each for tree in chosen.values() for each in tree.values()):
            found.weights = {to: w * len(trees) / kept for to, w in found.weights.items()}
    _write(node, chosen)


def shallower_trees(model: onnx.ModelProto, rows: Table, parameters: Parameters) -> None:
    """Turn what is at a depth into leaves, in place: each the mean of those below, by rows.

    Raises:
        UnusableParent: There is no tree that is deeper, or one that is split by something else
            than at most.
    """
    node = _ensemble(model)
    trees = _trees(node)
    modes = {each.mode for tree in trees.values() for each in tree.values()}
    if modes - {_LEAF, _BRANCH}:
        raise UnusableParent(f"parent_version has trees with nodes of {', '.join(sorted(modes))}")
    depth = int(parameters["max_depth"])
    deepest = max(_depth(tree, _root(tree)) for tree in trees.values())
    if depth >= deepest:
        raise UnusableParent(f"parent_version has trees of depth {deepest}: none above {depth}")
    (matrix,) = held(model, [node.input[0]], some_rows(rows))
    for tree in trees.values():
        _count(tree, matrix)
        _cut(tree, _root(tree), depth)
    lower = {name: _reached(tree) for name, tree in trees.items()}
    _write(node, lower)


def _ensemble(model: onnx.ModelProto) -> onnx.NodeProto:
    for node in model.graph.node:
        if node.op_type == _ENSEMBLE:
            return node
    kinds = ", ".join(sorted({node.op_type for node in model.graph.node}))
    raise UnusableParent(
        f"parent_version has no trees to prune, as that of lightgbm has: its graph has {kinds}"
    )


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(each for each in node.attribute if each.name == name)


def _lists(node: onnx.NodeProto, prefix: str) -> dict[str, list[Any]]:  # of each attribute's type
    """Attributes with one value for each node of a tree, or for each weight of a leaf."""
    return {
        each.name: onnx.helper.get_attribute_value(each)
        for each in node.attribute
        if each.name.startswith(prefix) and len(onnx.helper.get_attribute_value(each))
    }


def _trees(node: onnx.NodeProto) -> dict[int, _Tree]:
    """The trees by number, in their order."""
    lists = _lists(node, "nodes_")
    trees: dict[int, _Tree] = defaultdict(dict)
    for place, (tree, number) in enumerate(
        zip(lists["nodes_treeids"], lists["nodes_nodeids"], strict=True)
    ):
        trees[tree][number] = _Node(
            place,
            lists["nodes_modes"][place].decode(),
            lists["nodes_featureids"][place],
            lists["nodes_values"][place],
            lists["nodes_truenodeids"][place],
            lists["nodes_falsenodeids"][place],
        )
    weights = _lists(node, "class_")
    for tree, number, to, weight in zip(
        *(weights[f"class_{name}"] for name in ("treeids", "nodeids", "ids", "weights")),
        strict=True,
    ):
        trees[tree][number].weights[to] = weight
    return dict(trees)


def _write(node: onnx.NodeProto, trees: Mapping[int, _Tree]) -> None:
    """Make `node` hold `trees`, whose nodes are some of its own."""
    lists = _lists(node, "nodes_")
    kept = [each for tree in trees.values() for each in tree.values()]
    changed: dict[str, list[Any]] = {
        name: [values[each.place] for each in kept] for name, values in lists.items()
    }
    changed["nodes_modes"] = [each.mode for each in kept]
    changed["nodes_nodeids"] = [number for tree in trees.values() for number in tree]
    changed["nodes_truenodeids"] = [0 if each.mode == _LEAF else each.yes for each in kept]
    changed["nodes_falsenodeids"] = [0 if each.mode == _LEAF else each.no for each in kept]
    rows = list(_weights(trees))
    for place, name in enumerate(("treeids", "nodeids", "ids", "weights")):
        changed[f"class_{name}"] = [row[place] for row in rows]
    for name, values in changed.items():
        old = _attribute(node, name)
        new = onnx.helper.make_attribute(name, values)
        old.CopyFrom(new)


def _weights(trees: Mapping[int, _Tree]) -> Iterator[tuple[int, int, int, float]]:
    for tree, nodes in trees.items():
        for number, found in nodes.items():
            if found.mode == _LEAF:
                for to, weight in found.weights.items():
                    yield tree, number, to, weight


def _root(tree: _Tree) -> int:
    children = {
        child for each in tree.values() if each.mode != _LEAF for child in (each.yes, each.no)
    }
    return next(number for number in tree if number not in children)


def _depth(tree: _Tree, number: int) -> int:
    """Steps down to the lowest leaf."""
    found = tree[number]
    if found.mode == _LEAF:
        return 0
    return 1 + max(_depth(tree, found.yes), _depth(tree, found.no))


def _count(tree: _Tree, matrix: npt.NDArray[np.float32]) -> None:
    """Note how many rows come by each node."""
    waiting = [(_root(tree), np.arange(len(matrix)))]
    while waiting:
        number, rows = waiting.pop()
        found = tree[number]
        found.rows = len(rows)
        if found.mode != _LEAF:
            low = matrix[rows, found.feature] <= np.float32(found.value)
            waiting += [(found.yes, rows[low]), (found.no, rows[~low])]


def _cut(tree: _Tree, number: int, depth: int) -> dict[int, float]:
    """Make a leaf of what is `depth` steps below `number`; the mean weights of its leaves."""
    found = tree[number]
    if found.mode == _LEAF:
        return found.weights
    sides = [(tree[child].rows, _cut(tree, child, depth - 1)) for child in (found.yes, found.no)]
    total = sum(rows for rows, _ in sides)
    shares = [(rows / total if total else 0.5, weights) for rows, weights in sides]
    mean: dict[int, float] = defaultdict(float)
    for share, weights in shares:
        for to, weight in weights.items():
            mean[to] += share * weight
    if depth <= 0:
        found.mode, found.weights = _LEAF, dict(mean)
    return dict(mean)


def _reached(tree: _Tree) -> _Tree:
    """The nodes that can still be come to, in their order and numbered anew.

    The runtime has no room for numbers beyond the count of nodes.
    """
    seen, waiting = set(), [_root(tree)]
    while waiting:
        number = waiting.pop()
        seen.add(number)
        if tree[number].mode != _LEAF:
            waiting += [tree[number].yes, tree[number].no]
    numbers = {old: new for new, old in enumerate(number for number in tree if number in seen)}
    for old in numbers:
        found = tree[old]
        found.yes, found.no = numbers.get(found.yes, 0), numbers.get(found.no, 0)
    return {new: tree[old] for old, new in numbers.items()}
