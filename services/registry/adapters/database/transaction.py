"""One transaction of the registry over a database connection."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, exists, func, select

from services.common.resources import Collection
from services.common.store.documents import SqlCollection
from services.common.store.outbox import Outbox
from services.registry.adapters.database.documents import (
    ALIASES,
    APPROVALS,
    DATASETS,
    EVALUATIONS,
    GATE_RESULTS,
    MODELS,
    SNAPSHOTS,
    VERSIONS,
)
from services.registry.adapters.database.tables import (
    ALIAS_MOVE,
    EDGE,
    MODEL,
    UPLOAD,
    VERIFICATION,
    VERSION,
)
from services.registry.core.aliases import Alias, AliasMove
from services.registry.core.approvals import Approval
from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import Json
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.lineage import Direction, Edge, Relation
from services.registry.core.models import Model
from services.registry.core.names import parent_of
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion, VersionState

_OUTBOX: Final = Outbox("registry")
_NAMES_PER_QUERY: Final = 500  # below SQLite's and PostgreSQL's limits on parameters


class SqlRegistryTx:
    """`RegistryTx` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        now: The moment at which everything in it happens.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self.datasets: Collection[Dataset] = SqlCollection(connection, DATASETS)
        self.snapshots: Collection[DatasetSnapshot] = SqlCollection(connection, SNAPSHOTS)
        self.models: Collection[Model] = SqlCollection(connection, MODELS)
        self.versions: Collection[ModelVersion] = SqlCollection(connection, VERSIONS)
        self.aliases: Collection[Alias] = SqlCollection(connection, ALIASES)
        self.evaluations: Collection[Evaluation] = SqlCollection(connection, EVALUATIONS)
        self.gate_results: Collection[GateResult] = SqlCollection(connection, GATE_RESULTS)
        self.approvals: Collection[Approval] = SqlCollection(connection, APPROVALS)

    @property
    def now(self) -> datetime:
        """See `RegistryTx`."""
        return self._now

    def new_uid(self) -> str:
        """See `RegistryTx`."""
        return uuid.uuid4().hex

    def take_number(self, model: str) -> int:
        """See `RegistryTx`."""
        number: int = self._connection.execute(
            MODEL.update()
            .where(MODEL.c.name == model)
            .values(version_count=MODEL.c.version_count + 1)
            .returning(MODEL.c.version_count)
        ).scalar_one()
        return number

    def uploads(self, version: str) -> Mapping[str, BundleFile]:
        """See `RegistryTx`."""
        rows = self._connection.execute(select(UPLOAD).where(UPLOAD.c.version == version))
        return {row.path: BundleFile(row.path, row.size_bytes, row.digest) for row in rows}

    def record_upload(self, version: str, file: BundleFile) -> None:
        """See `RegistryTx`."""
        self._connection.execute(
            UPLOAD.delete().where(UPLOAD.c.version == version, UPLOAD.c.path == file.path)
        )
        self._connection.execute(UPLOAD.insert().values(version=version, **asdict(file)))

    def forget_uploads(self, version: str) -> None:
        """See `RegistryTx`."""
        self._connection.execute(UPLOAD.delete().where(UPLOAD.c.version == version))

    def note_verified(self, version: str, time: datetime) -> None:
        """See `RegistryTx`."""
        self._connection.execute(VERIFICATION.delete().where(VERIFICATION.c.version == version))
        self._connection.execute(VERIFICATION.insert().values(version=version, time=time))

    def verified_at(self, versions: Sequence[str]) -> Mapping[str, datetime]:
        """See `RegistryTx`."""
        found: dict[str, datetime] = {}
        for start in range(0, len(versions), _NAMES_PER_QUERY):
            part = versions[start : start + _NAMES_PER_QUERY]
            rows = self._connection.execute(
                select(VERIFICATION).where(VERIFICATION.c.version.in_(part))
            )
            found.update({row.version: row.time for row in rows})
        return found

    def stalest_version(self, before: datetime) -> str | None:
        """See `RegistryTx`."""
        verified = func.coalesce(VERIFICATION.c.time, VERSION.c.create_time)
        states = [VersionState.READY.value, VersionState.DEPRECATED.value]
        name: str | None = self._connection.execute(
            select(VERSION.c.name)
            .outerjoin(VERIFICATION, VERIFICATION.c.version == VERSION.c.name)
            .where(VERSION.c.state.in_(states), verified < before)
            .order_by(verified, VERSION.c.seq)
            .limit(1)
        ).scalar_one_or_none()
        return name

    def record_move(self, move: AliasMove) -> None:
        """See `RegistryTx`."""
        self._connection.execute(
            ALIAS_MOVE.insert().values(model=parent_of(move.alias), **asdict(move))
        )

    def link(self, edge: Edge) -> None:
        """See `RegistryTx`."""
        same = exists().where(
            EDGE.c.source == edge.source,
            EDGE.c.target == edge.target,
            EDGE.c.relation == edge.relation.value,
        )
        if not self._connection.execute(select(same)).scalar_one():
            self._connection.execute(
                EDGE.insert().values(
                    source=edge.source,
                    target=edge.target,
                    relation=edge.relation.value,
                    time=edge.time,
                )
            )

    def unlink(self, target: str) -> None:
        """See `RegistryTx`."""
        self._connection.execute(EDGE.delete().where(EDGE.c.target == target))

    def edges_at(self, names: Sequence[str], direction: Direction) -> Sequence[Edge]:
        """See `RegistryTx`."""
        near = EDGE.c.target if direction is Direction.UPSTREAM else EDGE.c.source
        edges: list[Edge] = []
        for start in range(0, len(names), _NAMES_PER_QUERY):
            part = names[start : start + _NAMES_PER_QUERY]
            rows = self._connection.execute(select(EDGE).where(near.in_(part)).order_by(EDGE.c.seq))
            edges.extend(
                Edge(row.source, row.target, Relation(row.relation), row.time) for row in rows
            )
        return edges

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> None:
        """See `RegistryTx`."""
        _OUTBOX.append(self._connection, kind, subject, self._now, data)
