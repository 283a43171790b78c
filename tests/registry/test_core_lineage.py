from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.core import lineage
from services.registry.core.lineage import Direction, Edge, Relation, walk
from tests.support.registry_memory import EPOCH

NODES = [f"n{index}" for index in range(8)]
GRAPHS = st.lists(
    st.builds(
        Edge,
        st.sampled_from(NODES),
        st.sampled_from(NODES),
        st.just(Relation.DERIVED),
        st.just(EPOCH),
    ),
    unique=True,
    max_size=30,
)


class Edges:
    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = edges

    def __call__(self, names: Sequence[str], direction: Direction) -> Sequence[Edge]:
        return [
            edge
            for edge in self._edges
            if (edge.source if direction is Direction.DOWNSTREAM else edge.target) in names
        ]


def distances(edges: Sequence[Edge]) -> dict[str, int]:
    found = {"n0": 0}
    for hop in range(1, len(NODES) + 1):
        for edge in edges:
            if found.get(edge.source, hop) < hop:
                found.setdefault(edge.target, hop)
    return found


@given(GRAPHS, st.integers(1, 10))
def test_a_walk_finds_every_edge_within_its_hops_once_also_in_cycles(
    edges: list[Edge], max_hops: int
) -> None:
    graph = walk("n0", Direction.DOWNSTREAM, max_hops, Edges(edges))
    far = distances(edges)
    reachable = {edge for edge in edges if edge.source in far}
    assert len(set(graph.edges)) == len(graph.edges)
    assert set(graph.edges) == {edge for edge in reachable if far[edge.source] < max_hops}
    assert graph.truncated == (set(graph.edges) != reachable)


@given(GRAPHS)
def test_upstream_is_downstream_of_the_reversed_graph(edges: list[Edge]) -> None:
    reversed_edges = [Edge(e.target, e.source, e.relation, e.time) for e in edges]
    up = walk("n0", Direction.UPSTREAM, 8, Edges(edges))
    down = walk("n0", Direction.DOWNSTREAM, 8, Edges(reversed_edges))
    assert [(e.source, e.target) for e in up.edges] == [(e.target, e.source) for e in down.edges]


def test_a_walk_stops_at_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "MAX_EDGES", 3)
    star = [Edge("n0", f"t{index}", Relation.DERIVED, EPOCH) for index in range(4)]
    graph = walk("n0", Direction.DOWNSTREAM, 8, Edges(star))
    assert len(graph.edges) == 3
    assert graph.truncated
