"""Resources as rows: columns to find them by, and a document with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Table, func, select

from services.registry.adapters.database.tables import (
    ALIAS,
    APPROVAL,
    DATASET,
    EVALUATION,
    GATE_RESULT,
    MODEL,
    SNAPSHOT,
    VERSION,
)
from services.registry.core.aliases import Alias
from services.registry.core.approvals import Approval
from services.registry.core.errors import ConcurrentChange
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.models import Model
from services.registry.core.names import parent_of
from services.registry.core.resources import Resource
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion

ResourceT = TypeVar("ResourceT", bound=Resource)


@dataclass(frozen=True, slots=True)
class Kind(Generic[ResourceT]):
    """How one kind of resource is stored.

    Attributes:
        table: Where.
        resource: Its class.
        columns: What of a resource is also a column, to be filtered by.
    """

    table: Table
    resource: type[ResourceT]
    columns: Callable[[ResourceT], Mapping[str, object]]
    _documents: TypeAdapter[ResourceT] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_documents", TypeAdapter(self.resource))

    def to_row(self, resource: ResourceT) -> dict[str, object]:
        """The values of the resource's row, without `seq`."""
        meta = resource.meta
        return {
            "name": meta.name,
            "parent": parent_of(meta.name),
            "uid": meta.uid,
            "revision": meta.revision,
            "create_time": meta.create_time,
            "update_time": meta.update_time,
            "labels": dict(meta.labels),
            **self.columns(resource),
            "document": self._documents.dump_python(resource, mode="json", exclude={"meta"}),
        }

    def from_row(self, row: Row[Any]) -> ResourceT:
        """The resource that `to_row` stored."""
        meta = {
            "name": row.name,
            "uid": row.uid,
            "revision": row.revision,
            "create_time": row.create_time,
            "update_time": row.update_time,
            "labels": row.labels,
        }
        return self._documents.validate_python({"meta": meta, **row.document})


DATASETS = Kind(DATASET, Dataset, lambda _: {})
SNAPSHOTS = Kind(
    SNAPSHOT,
    DatasetSnapshot,
    lambda snapshot: {
        "state": snapshot.state.value,
        "digest": snapshot.digest or "",
        "start_time": snapshot.window and snapshot.window.start,
        "end_time": snapshot.window and snapshot.window.end,
    },
)
MODELS = Kind(MODEL, Model, lambda _: {})
VERSIONS = Kind(
    VERSION,
    ModelVersion,
    lambda version: {
        "state": version.state.value,
        "digest": version.digest or "",
        "training_job": version.ancestry.training_job,
    },
)
ALIASES = Kind(ALIAS, Alias, lambda _: {})
EVALUATIONS = Kind(
    EVALUATION,
    Evaluation,
    lambda evaluation: {
        "snapshot": evaluation.scores.snapshot,
        "split": evaluation.scores.split,
        "split_digest": evaluation.scores.split_digest,
    },
)
GATE_RESULTS = Kind(
    GATE_RESULT,
    GateResult,
    lambda result: {"evaluation": result.evaluation, "passed": result.passed},
)
APPROVALS = Kind(
    APPROVAL,
    Approval,
    lambda approval: {
        "model": parent_of(parent_of(approval.meta.name)),
        "decided": approval.decided.value,
        "requester": approval.requester,
        "approver": approval.approver,
        "expire_time": approval.expire_time,
    },
)


class SqlCollection(Generic[ResourceT]):
    """The resources of one kind in one transaction.

    Args:
        connection: The transaction.
        kind: What is stored.
    """

    def __init__(self, connection: Connection, kind: Kind[ResourceT]) -> None:
        self._connection = connection
        self._kind = kind
        self._table = kind.table

    def get(self, name: str) -> ResourceT | None:
        """See `Collection`."""
        row = self._connection.execute(
            select(self._table).where(self._table.c.name == name)
        ).one_or_none()
        return None if row is None else self._kind.from_row(row)

    def add(self, resource: ResourceT) -> None:
        """See `Collection`."""
        self._connection.execute(self._table.insert().values(self._kind.to_row(resource)))

    def replace(self, resource: ResourceT) -> None:
        """See `Collection`."""
        meta = resource.meta
        changed = self._connection.execute(
            self._table.update()
            .where(self._table.c.name == meta.name, self._table.c.revision == meta.revision - 1)
            .values(self._kind.to_row(resource))
        )
        if changed.rowcount != 1:
            raise ConcurrentChange(meta.name)

    def remove(self, name: str) -> None:
        """See `Collection`."""
        self._connection.execute(self._table.delete().where(self._table.c.name == name))

    def count(self, parent: str) -> int:
        """See `Collection`."""
        return self._connection.execute(
            select(func.count()).select_from(self._table).where(self._table.c.parent == parent)
        ).scalar_one()

    def under(self, parent: str) -> Sequence[ResourceT]:
        """See `Collection`."""
        rows = self._connection.execute(
            select(self._table).where(self._table.c.parent == parent).order_by(self._table.c.seq)
        )
        return [self._kind.from_row(row) for row in rows]

    def newest(self, parent: str) -> ResourceT | None:
        """See `Collection`."""
        row = self._connection.execute(
            select(self._table)
            .where(self._table.c.parent == parent)
            .order_by(self._table.c.seq.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else self._kind.from_row(row)
