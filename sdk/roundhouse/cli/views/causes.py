"""A causal record as a tree."""

from __future__ import annotations

from rich.markup import escape
from rich.tree import Tree
from roundhouse.cli.names import short
from roundhouse.cli.output import when
from roundhouse.monitor.v1.judgement_service_pb2 import Cause


def tree_of(root: Cause) -> Tree:
    """What serves at the top, what caused it below, each with its numbers and time."""
    tree = Tree(_label(root))
    _grow(tree, root)
    return tree


def _grow(tree: Tree, cause: Cause) -> None:
    for each in cause.causes:
        _grow(tree.add(_label(each)), each)


def _label(cause: Cause) -> str:
    kind = cause.kind.replace("_", " ")
    moment = f" [dim]{when(cause.time)}[/dim]" if cause.HasField("time") else ""
    return f"[bold]{kind}[/bold] {escape(short(cause.name))}{moment}\n{escape(cause.summary)}"
