from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.registry.core.lineage import (
    BOTH,
    DOWNSTREAM,
    UPSTREAM,
    Bounds,
    Direction,
    Edge,
    NodeKind,
    Relation,
    column_of,
    feature_name,
    kind_of,
    walk,
)
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

    def __call__(self, names: Sequence[str], direction: Direction, limit: int) -> Sequence[Edge]:
        return [
            edge
            for edge in self._edges
            if (edge.source if direction is Direction.DOWNSTREAM else edge.target) in names
        ][:limit]


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
    graph = walk("n0", DOWNSTREAM, Bounds(max_hops), Edges(edges))
    far = distances(edges)
    reachable = {edge for edge in edges if edge.source in far}
    assert len(set(graph.edges)) == len(graph.edges)
    assert set(graph.edges) == {edge for edge in reachable if far[edge.source] < max_hops}
    assert graph.truncated == (set(graph.edges) != reachable)


@given(GRAPHS)
def test_upstream_is_downstream_of_the_reversed_graph(edges: list[Edge]) -> None:
    reversed_edges = [Edge(e.target, e.source, e.relation, e.time) for e in edges]
    up = walk("n0", UPSTREAM, Bounds(), Edges(edges))
    down = walk("n0", DOWNSTREAM, Bounds(), Edges(reversed_edges))
    assert [(e.source, e.target) for e in up.edges] == [(e.target, e.source) for e in down.edges]


@given(GRAPHS, st.integers(1, 10))
def test_both_ways_is_what_led_to_it_and_what_came_of_it(edges: list[Edge], max_hops: int) -> None:
    up, down, both = (
        walk("n0", directions, Bounds(max_hops), Edges(edges))
        for directions in (UPSTREAM, DOWNSTREAM, BOTH)
    )
    assert set(both.edges) == {*up.edges, *down.edges}
    assert len(set(both.edges)) == len(both.edges)
    assert both.names[0] == "n0"
    assert len(set(both.names)) == len(both.names)


@given(GRAPHS, st.integers(1, 30), st.sampled_from([UPSTREAM, DOWNSTREAM, BOTH]))
def test_a_bounded_walk_is_the_beginning_of_the_whole_one(
    edges: list[Edge], max_edges: int, directions: Sequence[Direction]
) -> None:
    whole = walk("n0", directions, Bounds(16), Edges(edges))
    part = walk("n0", directions, Bounds(16, max_edges), Edges(edges))
    assert part.edges == whole.edges[: len(part.edges)]
    assert len(part.edges) <= max_edges
    assert part.truncated or part == whole


def test_a_walk_stops_at_its_cap() -> None:
    star = [Edge("n0", f"t{index}", Relation.DERIVED, EPOCH) for index in range(4)]
    graph = walk("n0", DOWNSTREAM, Bounds(max_edges=3), Edges(star))
    assert len(graph.edges) == 3
    assert graph.truncated


def test_a_walk_asks_a_hub_for_no_more_than_it_may_give() -> None:
    asked = []

    def hub(names: Sequence[str], direction: Direction, limit: int) -> Sequence[Edge]:
        asked.append(limit)
        return [Edge("n0", f"t{index}", Relation.DERIVED, EPOCH) for index in range(limit)]

    assert walk("n0", DOWNSTREAM, Bounds(max_edges=10), hub).truncated
    assert asked == [11]


@given(st.text(min_size=1, max_size=40))
def test_a_feature_is_named_after_its_column(column: str) -> None:
    name = feature_name("projects/p/datasets/d/snapshots/s", column)
    assert kind_of(name) is NodeKind.FEATURE
    assert column_of(name) == column
    assert name.count("/") == 7
