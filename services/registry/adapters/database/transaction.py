"""One transaction of the registry over a database connection."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, bindparam, func, select

from services.common.resources import Collection
from services.common.store.documents import SqlCollection
from services.common.store.outbox import Outbox
from services.common.store.tables import EVENT, REQUEST
from services.registry.adapters.database.blob_ledger import SqlBlobLedger
from services.registry.adapters.database.documents import (
    ALIASES,
    APPROVALS,
    DATASETS,
    EVALUATIONS,
    GATE_RESULTS,
    HOLDS,
    MODELS,
    PINS,
    PLANS,
    SNAPSHOTS,
    VERSIONS,
    WEBHOOKS,
)
from services.registry.adapters.database.journal import Journal, JournaledCollection
from services.registry.adapters.database.ledger import add_touch, touches_of
from services.registry.adapters.database.lineage import SqlLineage, in_parts
from services.registry.adapters.database.nodes import nodes
from services.registry.adapters.database.plan_items import SqlPlanItems
from services.registry.adapters.database.tables import (
    ALIAS_MOVE,
    COLLECTION_PLAN,
    HOLD,
    MODEL,
    PIN,
    SNAPSHOT,
    UPLOAD,
    VERIFICATION,
    VERSION,
)
from services.registry.adapters.database.webhooks import SqlHooks
from services.registry.core.aliases import Alias, AliasMove
from services.registry.core.approvals import Approval
from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import Json
from services.registry.core.deployments import Whereabouts
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.ledger import Touch
from services.registry.core.lineage import Direction, Edge, Node
from services.registry.core.models import Model
from services.registry.core.names import parent_of
from services.registry.core.ports import Answer, Hooks
from services.registry.core.retention.fence import BlobLedger
from services.registry.core.retention.holds import Hold, HoldState
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import CollectionPlan, PlanItems, PlanState
from services.registry.core.snapshots import Dataset, DatasetSnapshot, SnapshotState
from services.registry.core.versions import ModelVersion, VersionState
from services.registry.core.webhooks import Webhook

_OUTBOX: Final = Outbox("registry")

# Made once: making a statement costs three times as much as running it.
_TAKE_NUMBER: Final = (
    MODEL.update()
    .where(MODEL.c.name == bindparam("model"))
    .values(version_count=MODEL.c.version_count + 1)
    .returning(MODEL.c.version_count)
)
_ALIASES_AT: Final = (
    select(ALIASES.table)
    .where(ALIASES.table.c.version.in_(bindparam("versions", expanding=True)))
    .order_by(ALIASES.table.c.seq)
)
_VERIFIED_AT: Final = select(VERIFICATION).where(
    VERIFICATION.c.version.in_(bindparam("versions", expanding=True))
)
_UPLOADS: Final = select(UPLOAD).where(UPLOAD.c.version == bindparam("of_version"))
_FORGET_UPLOAD: Final = UPLOAD.delete().where(
    UPLOAD.c.version == bindparam("of_version"), UPLOAD.c.path == bindparam("of_path")
)
_FORGET_UPLOADS: Final = UPLOAD.delete().where(UPLOAD.c.version == bindparam("of_version"))
_RECORD_UPLOAD: Final = UPLOAD.insert()
_RECORD_MOVE: Final = ALIAS_MOVE.insert().inline()
_EVENT: Final = select(EVENT).where(EVENT.c.id == bindparam("of_id"))


class SqlRegistryTx:
    """`RegistryTx` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        now: The moment at which everything in it happens.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._journal = journal = Journal(connection, now)
        self._lineage = SqlLineage(connection, journal)
        self.datasets: Collection[Dataset] = JournaledCollection(connection, DATASETS, journal)
        self.snapshots: Collection[DatasetSnapshot] = JournaledCollection(
            connection, SNAPSHOTS, journal
        )
        self.models: Collection[Model] = JournaledCollection(connection, MODELS, journal)
        self.versions: Collection[ModelVersion] = JournaledCollection(connection, VERSIONS, journal)
        self.aliases: Collection[Alias] = JournaledCollection(connection, ALIASES, journal)
        self.evaluations: Collection[Evaluation] = JournaledCollection(
            connection, EVALUATIONS, journal
        )
        self.gate_results: Collection[GateResult] = JournaledCollection(
            connection, GATE_RESULTS, journal
        )
        self.approvals: Collection[Approval] = JournaledCollection(connection, APPROVALS, journal)
        # Without their secrets, which leave the database for nobody, records would be of no use.
        self.webhooks: Collection[Webhook] = SqlCollection(connection, WEBHOOKS)
        self.hooks: Hooks = SqlHooks(connection, now)
        self._pins = JournaledCollection(connection, PINS, journal)
        self.pins: Collection[Pin] = self._pins
        self._holds = JournaledCollection(connection, HOLDS, journal)
        self.holds: Collection[Hold] = self._holds
        self._plans = SqlCollection(connection, PLANS)
        self.plans: Collection[CollectionPlan] = self._plans
        self.blobs: BlobLedger = SqlBlobLedger(connection)
        self.plan_items: PlanItems = SqlPlanItems(connection)

    @property
    def now(self) -> datetime:
        """See `RegistryTx`."""
        return self._now

    def new_uid(self) -> str:
        """See `RegistryTx`."""
        return uuid.uuid4().hex

    def take_number(self, model: str) -> int:
        """See `RegistryTx`."""
        number: int = self._connection.execute(_TAKE_NUMBER, {"model": model}).scalar_one()
        self._journal.update(MODEL, {"name": model}, {"version_count": number})
        return number

    def aliases_at(self, versions: Sequence[str]) -> Sequence[Alias]:
        """See `RegistryTx`."""
        found: list[Alias] = []
        for part in in_parts(versions):
            rows = self._connection.execute(_ALIASES_AT, {"versions": part})
            found.extend(ALIASES.from_row(row) for row in rows)
        return found

    def uploads(self, version: str) -> Mapping[str, BundleFile]:
        """See `RegistryTx`."""
        rows = self._connection.execute(_UPLOADS, {"of_version": version})
        return {row.path: BundleFile(row.path, row.size_bytes, row.digest) for row in rows}

    def record_upload(self, version: str, file: BundleFile) -> None:
        """See `RegistryTx`."""
        self._connection.execute(_FORGET_UPLOAD, {"of_version": version, "of_path": file.path})
        self._connection.execute(_RECORD_UPLOAD, {"version": version, **asdict(file)})

    def forget_uploads(self, version: str) -> None:
        """See `RegistryTx`."""
        self._connection.execute(_FORGET_UPLOADS, {"of_version": version})

    def note_verified(self, version: str, time: datetime) -> None:
        """See `RegistryTx`."""
        row = {"version": version, "time": time}
        self._connection.execute(VERIFICATION.delete().where(VERIFICATION.c.version == version))
        self._connection.execute(VERIFICATION.insert().values(row))
        self._journal.delete(VERIFICATION, {"version": version})
        self._journal.insert(VERIFICATION, row)

    def verified_at(self, versions: Sequence[str]) -> Mapping[str, datetime]:
        """See `RegistryTx`."""
        found: dict[str, datetime] = {}
        for part in in_parts(versions):
            rows = self._connection.execute(_VERIFIED_AT, {"versions": part})
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
        row = {"model": parent_of(move.alias), **asdict(move)}
        self._connection.execute(_RECORD_MOVE, row)
        self._journal.insert(ALIAS_MOVE, row)

    def record_touch(self, touch: Touch) -> None:
        """See `RegistryTx`."""
        add_touch(self._connection, touch, self._journal)

    def touches_of(self, data_digest: str, split_digest: str) -> Sequence[Touch]:
        """See `RegistryTx`."""
        return touches_of(self._connection, data_digest, split_digest)

    def link(self, edge: Edge) -> None:
        """See `RegistryTx`."""
        self._lineage.link_all([edge])

    def link_all(self, edges: Sequence[Edge]) -> None:
        """See `RegistryTx`."""
        self._lineage.link_all(edges)

    def unlink(self, target: str) -> None:
        """See `RegistryTx`."""
        self._lineage.unlink(target)

    def edges_at(
        self, names: Sequence[str], direction: Direction, limit: int | None = None
    ) -> Sequence[Edge]:
        """See `RegistryTx`."""
        return self._lineage.edges_at(names, direction, limit)

    def nodes(self, names: Sequence[str]) -> Sequence[Node]:
        """See `RegistryTx`."""
        return nodes(self._connection, names, self._now)

    def whereabouts(self, name: str) -> Whereabouts | None:
        """See `RegistryTx`."""
        return self._lineage.whereabouts(name)

    def set_whereabouts(self, told: Whereabouts) -> None:
        """See `RegistryTx`."""
        self._lineage.set_whereabouts(told)

    def pins_on(self, target: str) -> Sequence[Pin]:
        """See `RegistryTx`."""
        return self._pins.where(select(PIN).where(PIN.c.target == target))

    def holds_on(self, target: str) -> Sequence[Hold]:
        """See `RegistryTx`."""
        active = HOLD.c.state == HoldState.ACTIVE.value
        return self._holds.where(select(HOLD).where(HOLD.c.target == target, active))

    def newer_versions(self, version: str) -> int:
        """See `RegistryTx`."""
        return self._newer(VERSION, version, VersionState.READY.value)

    def newer_snapshots(self, snapshot: str) -> int:
        """See `RegistryTx`."""
        return self._newer(SNAPSHOT, snapshot, SnapshotState.SEALED.value)

    def _newer(self, table: Table, name: str, state: str) -> int:
        this = select(table.c.seq).where(table.c.name == name).scalar_subquery()
        return self._connection.execute(
            select(func.count())
            .select_from(table)
            .where(table.c.parent == parent_of(name), table.c.state == state, table.c.seq > this)
        ).scalar_one()

    def running_plan(self) -> CollectionPlan | None:
        """See `RegistryTx`."""
        running = COLLECTION_PLAN.c.progress == PlanState.RUNNING.value
        found = self._plans.where(select(COLLECTION_PLAN).where(running).limit(1))
        return found[0] if found else None

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> None:
        """See `RegistryTx`."""
        event_id = _OUTBOX.append(self._connection, kind, subject, self._now, data)
        row = self._connection.execute(_EVENT, {"of_id": event_id}).one()
        self._journal.insert(EVENT, row._asdict())

    def finish(self, answer: Answer | None = None) -> int:
        """See `RegistryTx`."""
        if answer is not None and not self._journal.is_empty:
            self._journal.insert(REQUEST, {**asdict(answer), "create_time": self._now})
        return self._journal.close()
