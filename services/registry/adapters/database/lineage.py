"""The edges of the lineage, and where rollouts and endpoints stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final, TypeVar

from sqlalchemy import Connection, bindparam, select

from services.registry.adapters.database.journal import Journal
from services.registry.adapters.database.tables import EDGE, WHEREABOUTS
from services.registry.core.deployments import Whereabouts
from services.registry.core.lineage import Direction, Edge, Relation

T = TypeVar("T")

_NAMES_PER_QUERY: Final = 500  # below SQLite's and PostgreSQL's limits on parameters

# Made once: making a statement costs three times as much as running it.
_KNOWN: Final = select(EDGE.c.source, EDGE.c.target, EDGE.c.relation).where(
    EDGE.c.target.in_(bindparam("targets", expanding=True)),
    EDGE.c.source.in_(bindparam("sources", expanding=True)),
)
_ADD: Final = EDGE.insert().inline()


def in_parts(items: Sequence[T], size: int = _NAMES_PER_QUERY) -> Iterator[Sequence[T]]:
    """`items` in parts that one query can ask for."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class SqlLineage:
    """The lineage's part of `RegistryTx` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        journal: Of the transaction.
    """

    def __init__(self, connection: Connection, journal: Journal) -> None:
        self._connection = connection
        self._journal = journal

    def link_all(self, edges: Sequence[Edge]) -> None:
        """See `RegistryTx`."""
        known: set[tuple[str, str, str]] = set()
        for part in in_parts(edges, _NAMES_PER_QUERY // 2):
            rows = self._connection.execute(
                _KNOWN,
                {
                    "targets": list({edge.target for edge in part}),
                    "sources": list({edge.source for edge in part}),
                },
            )
            known.update((row.source, row.target, row.relation) for row in rows)
        new = {
            (edge.source, edge.target, edge.relation.value): edge
            for edge in edges
            if (edge.source, edge.target, edge.relation.value) not in known
        }
        if new:
            added = [
                {"source": source, "target": target, "relation": relation, "time": edge.time}
                for (source, target, relation), edge in new.items()
            ]
            self._connection.execute(_ADD, added)
            for row in added:
                self._journal.insert(EDGE, row)

    def unlink(self, target: str) -> None:
        """See `RegistryTx`."""
        self._connection.execute(EDGE.delete().where(EDGE.c.target == target))
        self._journal.delete(EDGE, {"target": target})

    def edges_at(
        self, names: Sequence[str], direction: Direction, limit: int | None
    ) -> Sequence[Edge]:
        """See `RegistryTx`."""
        near = EDGE.c.target if direction is Direction.UPSTREAM else EDGE.c.source
        edges: list[Edge] = []
        for part in in_parts(names):
            room = None if limit is None else limit - len(edges)
            rows = self._connection.execute(
                select(EDGE).where(near.in_(part)).order_by(EDGE.c.seq).limit(room)
            )
            edges.extend(
                Edge(row.source, row.target, Relation(row.relation), row.time) for row in rows
            )
            if len(edges) == limit:
                break
        return edges

    def whereabouts(self, name: str) -> Whereabouts | None:
        """See `RegistryTx`."""
        row = self._connection.execute(
            select(WHEREABOUTS).where(WHEREABOUTS.c.name == name)
        ).one_or_none()
        return None if row is None else Whereabouts(**row._mapping)  # noqa: SLF001 - public API

    def set_whereabouts(self, told: Whereabouts) -> None:
        """See `RegistryTx`."""
        self._connection.execute(WHEREABOUTS.delete().where(WHEREABOUTS.c.name == told.name))
        self._connection.execute(WHEREABOUTS.insert().values(asdict(told)))
        self._journal.delete(WHEREABOUTS, {"name": told.name})
        self._journal.insert(WHEREABOUTS, asdict(told))
