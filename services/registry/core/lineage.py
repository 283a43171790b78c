"""What was made from what: a graph of resource names, walked breadth first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

MAX_EDGES: Final = 10_000


class Relation(StrEnum):
    """How something came of something."""

    DERIVED = "derived"
    TRAINED = "trained"
    PRODUCED = "produced"
    EVALUATED = "evaluated"
    GATED = "gated"
    APPROVED = "approved"
    ALIASED = "aliased"


class Direction(StrEnum):
    """Which way to walk."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"


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

    edges: tuple[Edge, ...]
    truncated: bool


def walk(
    start: str,
    direction: Direction,
    max_hops: int,
    edges_at: Callable[[Sequence[str], Direction], Sequence[Edge]],
) -> Graph:
    """The graph within `max_hops` of `start`, at most `MAX_EDGES` edges.

    Args:
        start: Resource name.
        direction: Which way to walk.
        max_hops: Most edges between the start and a node, at least 1.
        edges_at: The edges that leave the given names in a direction, in a fixed order.
    """
    found: dict[Edge, None] = {}
    seen = {start}
    frontier = [start]
    for _ in range(max_hops):
        if not frontier:
            break
        following: list[str] = []
        for edge in edges_at(frontier, direction):
            if edge in found:
                continue
            if len(found) == MAX_EDGES:
                return Graph(tuple(found), truncated=True)
            found[edge] = None
            far = edge.source if direction is Direction.UPSTREAM else edge.target
            if far not in seen:
                seen.add(far)
                following.append(far)
        frontier = following
    truncated = bool(frontier) and any(edge not in found for edge in edges_at(frontier, direction))
    return Graph(tuple(found), truncated=truncated)
