"""What was made from what: a graph of resource names, walked breadth first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import quote, unquote

from services.common.names import ResourceName
from services.registry.core.names import (
    ALIAS,
    APPROVAL,
    ENDPOINT,
    EVALUATION,
    GATE_RESULT,
    ROLLOUT,
    SNAPSHOT,
    TRAINING_JOB,
    VERSION,
)

MAX_EDGES: Final = 4_000
"""With names as long as they may be, the answer stays below gRPC's 4 MiB."""

LONGEST_FEATURE: Final = 300
"""Characters of a feature's name; a column whose name is longer is left out of the lineage."""

_FEATURES: Final = "/features/"


class Relation(StrEnum):
    """How something came of something."""

    DERIVED = "derived"
    SELECTED = "selected"
    FEATURED = "featured"
    TRAINED = "trained"
    PRODUCED = "produced"
    EVALUATED = "evaluated"
    GATED = "gated"
    APPROVED = "approved"
    ALIASED = "aliased"
    PERMITTED = "permitted"
    DEPLOYED = "deployed"
    SERVED = "served"


class Direction(StrEnum):
    """Which way to walk."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"


UPSTREAM: Final = (Direction.UPSTREAM,)
DOWNSTREAM: Final = (Direction.DOWNSTREAM,)
BOTH: Final = (Direction.UPSTREAM, Direction.DOWNSTREAM)


class NodeKind(StrEnum):
    """What a resource of the lineage is."""

    UNKNOWN = "UNKNOWN"
    SNAPSHOT = "SNAPSHOT"
    FEATURE = "FEATURE"
    TRAINING_JOB = "TRAINING_JOB"
    VERSION = "VERSION"
    EVALUATION = "EVALUATION"
    GATE_RESULT = "GATE_RESULT"
    APPROVAL = "APPROVAL"
    ALIAS = "ALIAS"
    ROLLOUT = "ROLLOUT"
    ENDPOINT = "ENDPOINT"


_KINDS: Final[tuple[tuple[ResourceName, NodeKind], ...]] = (
    (SNAPSHOT, NodeKind.SNAPSHOT),
    (TRAINING_JOB, NodeKind.TRAINING_JOB),
    (VERSION, NodeKind.VERSION),
    (EVALUATION, NodeKind.EVALUATION),
    (GATE_RESULT, NodeKind.GATE_RESULT),
    (APPROVAL, NodeKind.APPROVAL),
    (ALIAS, NodeKind.ALIAS),
    (ROLLOUT, NodeKind.ROLLOUT),
    (ENDPOINT, NodeKind.ENDPOINT),
)


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of one resource.

    Attributes:
        state: Where it stands now; empty where nothing can change or nobody here knows.
        time: When it began; None where nobody here knows.
        label: What matters most about it, for people.
    """

    name: str
    kind: NodeKind
    state: str = ""
    time: datetime | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One resource was made from, or decided on, another.

    Attributes:
        source: The cause.
        target: What came of it.
    """

    source: str
    target: str
    relation: Relation
    time: datetime


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges in the order of discovery.

    Attributes:
        truncated: Whether it goes on beyond the bound of hops or edges.
    """

    start: str
    edges: tuple[Edge, ...]
    truncated: bool

    @property
    def names(self) -> list[str]:
        """The start, then what the edges name, in the order of discovery."""
        ends = (end for edge in self.edges for end in (edge.source, edge.target))
        return list(dict.fromkeys((self.start, *ends)))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a walk goes.

    Attributes:
        max_hops: Most edges between the start and a node, at least 1.
        max_edges: Most edges found, at least 1.
    """

    max_hops: int = 8
    max_edges: int = MAX_EDGES


class EdgesAt(Protocol):
    """Where a walk finds its edges."""

    def __call__(self, names: Sequence[str], direction: Direction, limit: int) -> Sequence[Edge]:
        """At most `limit` edges that leave `names` in `direction`, in a fixed order."""
        ...


@dataclass(slots=True)
class _Side:
    """A walk in one direction."""

    direction: Direction
    frontier: list[str]
    seen: set[str] = field(default_factory=set)

    def step(self, edges: Sequence[Edge]) -> None:
        """Go on to where `edges` lead."""
        upstream = self.direction is Direction.UPSTREAM
        self.seen.update(self.frontier)
        ends = (edge.source if upstream else edge.target for edge in edges)
        self.frontier = [end for end in dict.fromkeys(ends) if end not in self.seen]
        self.seen.update(self.frontier)


def walk(start: str, directions: Sequence[Direction], bounds: Bounds, edges_at: EdgesAt) -> Graph:
    """The graph around `start` within `bounds`.

    Args:
        start: Resource name.
        directions: Ways to walk, hop by hop in this order; each goes only its own way.
        bounds: How far.
        edges_at: Where the edges are.
    """
    found: dict[Edge, None] = {}
    sides = [_Side(direction, [start]) for direction in directions]
    for _ in range(bounds.max_hops):
        for side in sides:
            if not side.frontier:
                continue
            room = bounds.max_edges - len(found)
            edges = edges_at(side.frontier, side.direction, room + 1)
            found.update(dict.fromkeys(edges[:room]))
            if len(edges) > room:
                return Graph(start, tuple(found), truncated=True)
            side.step(edges)
    truncated = any(
        edge not in found
        for side in sides
        if side.frontier
        for edge in edges_at(side.frontier, side.direction, len(found) + 1)
    )
    return Graph(start, tuple(found), truncated=truncated)


def kind_of(name: str) -> NodeKind:
    """What a resource is, by the shape of its name."""
    snapshot, separator, _ = name.partition(_FEATURES)
    if separator and SNAPSHOT.matches(snapshot):
        return NodeKind.FEATURE
    return next((kind for shape, kind in _KINDS if shape.matches(name)), NodeKind.UNKNOWN)


def feature_name(snapshot: str, column: str) -> str:
    """The name of a snapshot's column as a feature."""
    return f"{snapshot}{_FEATURES}{quote(column, safe='')}"


def column_of(feature: str) -> str:
    """The column that a feature is."""
    return unquote(feature.rpartition(_FEATURES)[2])


def bare_node(name: str) -> Node:
    """What a name alone tells."""
    kind = kind_of(name)
    return Node(name, kind, label=column_of(name) if kind is NodeKind.FEATURE else "")
