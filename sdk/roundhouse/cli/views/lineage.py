"""A version's lineage as a tree: what it was made from, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from rich.markup import escape
from rich.tree import Tree
from roundhouse.cli.names import short
from roundhouse.cli.output import when
from roundhouse.registry.v1.lineage_service_pb2 import (
    LineageEdge,
    LineageNode,
    QueryLineageResponse,
)
from roundhouse.registry.v1.model_pb2 import ModelVersion

_STYLES: Final = {
    **dict.fromkeys(("READY", "SEALED", "PASSED", "APPROVED", "SUCCEEDED", "SERVING"), "green"),
    **dict.fromkeys(("UPLOADING", "OPEN", "PENDING", "ROLLING_OUT"), "yellow"),
}


def lineage_tree(version: ModelVersion, lineage: QueryLineageResponse) -> Tree:
    """The version at the top; below it its causes, then its consequences.

    What is reached by several ways is told in full once.
    """
    nodes = {node.name: node for node in lineage.nodes}
    causes: dict[str, list[LineageEdge]] = defaultdict(list)
    consequences: dict[str, list[LineageEdge]] = defaultdict(list)
    for edge in lineage.edges:
        causes[edge.to].append(edge)
        consequences[_source(edge)].append(edge)
    tree = Tree(_label(nodes[version.name]))
    for key, value in sorted(version.labels.items()):
        tree.add(f"[dim]{escape(key)}[/dim] {escape(value)}")
    made_from = tree.add("[bold]made from[/bold]")
    _grow(made_from, version.name, causes, nodes, {version.name}, upstream=True)
    if not made_from.children:
        made_from.add("nothing that is on record")
    came_of_it = tree.add("[bold]what came of it[/bold]")
    _grow(came_of_it, version.name, consequences, nodes, {version.name}, upstream=False)
    if not came_of_it.children:
        came_of_it.add("nothing yet")
    return tree


def _grow(
    tree: Tree,
    name: str,
    edges: Mapping[str, Sequence[LineageEdge]],
    nodes: Mapping[str, LineageNode],
    told: set[str],
    *,
    upstream: bool,
) -> None:
    features = []
    for edge in edges.get(name, ()):
        far = nodes[_source(edge) if upstream else edge.to]
        if far.kind == LineageNode.KIND_FEATURE:
            features.append(far.label)
            continue
        how = f"[dim]{edge.relation}[/dim] "
        if far.name in told:
            tree.add(f"{how}{_title(far)} [dim](told above)[/dim]")
            continue
        told.add(far.name)
        branch = tree.add(f"{how}{_label(far)}")
        _grow(branch, far.name, edges, nodes, told, upstream=upstream)
    if features:
        columns = sorted(set(features))
        noun = "feature" if len(columns) == 1 else "features"
        tree.add(
            f"[dim]featured[/dim] [bold]{len(columns)} {noun}[/bold] {escape(', '.join(columns))}"
        )


def _label(node: LineageNode) -> str:
    style = _STYLES.get(node.state, "red")
    state = f" [{style}]{node.state}[/{style}]" if node.state else ""
    moment = f" [dim]{when(node.time)}[/dim]" if node.HasField("time") else ""
    label = short(node.label) if node.label.startswith("projects/") else node.label
    return f"{_title(node)}{state}{moment}" + (f" {escape(label)}" if label else "")


def _title(node: LineageNode) -> str:
    kind = LineageNode.Kind.Name(node.kind).removeprefix("KIND_").replace("_", " ").lower()
    return f"[bold]{'' if node.kind == 0 else kind}[/bold] {escape(_brief(node.name))}".strip()


def _brief(name: str) -> str:
    """A name for people; ids that the registry chose are cut."""
    parts = short(name).split("/")
    last = parts[-1]
    if len(parts) > 2 and len(last) == 32:
        return last[:8]
    return short(name) if len(parts) <= 2 else last


def _source(edge: LineageEdge) -> str:
    return str(getattr(edge, "from"))
