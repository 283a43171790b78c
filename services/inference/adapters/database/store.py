"""The core's transactions on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, select

from services.common.resources import Page, PageQuery
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.documents import SqlCollection
from services.common.store.leases import Lease
from services.common.store.outbox import Outbox
from services.inference.adapters.database.tables import (
    BATCH_JOB_LISTING,
    BATCH_JOBS,
    DRILL_LISTING,
    DRILLS,
    ENDPOINT_LISTING,
    ENDPOINTS,
    POLICY_MOVE_LISTING,
    POLICY_MOVES,
    POLICY_VERSION_LISTING,
    POLICY_VERSIONS,
    ROLLOUT_LISTING,
    ROLLOUTS,
    SHADOW_REPORTS,
)
from services.inference.core.batches import BatchPredictionJob, BatchState
from services.inference.core.drills import DrillState, RollbackDrill
from services.inference.core.endpoints import Endpoint
from services.inference.core.policies import PolicyMove, PolicyVersion
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import TERMINAL, Rollout

T = TypeVar("T")

_OUTBOX: Final = Outbox("inference")
_EVERY_POLICY: Final = "/policies/-"


class SqlInferenceTx:
    """`InferenceTx` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.endpoints = SqlCollection(connection, ENDPOINTS)
        self.rollouts = SqlCollection(connection, ROLLOUTS)
        self.policy_versions = SqlCollection(connection, POLICY_VERSIONS)
        self.policy_moves = SqlCollection(connection, POLICY_MOVES)
        self.drills = SqlCollection(connection, DRILLS)
        self.batch_jobs = SqlCollection(connection, BATCH_JOBS)
        self.shadow_reports = SqlCollection(connection, SHADOW_REPORTS)

    def all_endpoints(self) -> Sequence[Endpoint]:
        """See `InferenceTx`."""
        return self.endpoints.where(select(ENDPOINTS.table))

    def endpoint_with_id(self, endpoint_id: str) -> Endpoint | None:
        """See `InferenceTx`."""
        table = ENDPOINTS.table
        found = self.endpoints.where(select(table).where(table.c.endpoint_id == endpoint_id))
        return found[0] if found else None

    def active_rollouts(self) -> Sequence[Rollout]:
        """See `InferenceTx`."""
        table = ROLLOUTS.table
        over = [state.value for state in TERMINAL]
        return self.rollouts.where(select(table).where(table.c.state.not_in(over)))

    def running_drills(self) -> Sequence[RollbackDrill]:
        """See `InferenceTx`."""
        table = DRILLS.table
        return self.drills.where(select(table).where(table.c.state == DrillState.RUNNING.value))

    def unfinished_batch_jobs(self) -> Sequence[BatchPredictionJob]:
        """See `InferenceTx`."""
        table = BATCH_JOBS.table
        active = [state.value for state in BatchState if not state.over]
        return self.batch_jobs.where(select(table).where(table.c.state.in_(active)))

    def page_batch_jobs(self, query: PageQuery) -> Page[BatchPredictionJob]:
        """See `InferenceTx`."""
        return self.batch_jobs.page(BATCH_JOB_LISTING, query)

    def page_drills(self, query: PageQuery) -> Page[RollbackDrill]:
        """See `InferenceTx`."""
        return self.drills.page(DRILL_LISTING, query)

    def page_endpoints(self, query: PageQuery) -> Page[Endpoint]:
        """See `InferenceTx`."""
        return self.endpoints.page(ENDPOINT_LISTING, query)

    def page_rollouts(self, query: PageQuery) -> Page[Rollout]:
        """See `InferenceTx`."""
        return self.rollouts.page(ROLLOUT_LISTING, query)

    def page_policy_versions(self, query: PageQuery) -> Page[PolicyVersion]:
        """See `InferenceTx`."""
        project, wildcard, rest = query.parent.partition(_EVERY_POLICY)
        if wildcard and not rest:
            columns = POLICY_VERSIONS.table.c
            return self.policy_versions.page(
                POLICY_VERSION_LISTING, query, columns.project == project
            )
        return self.policy_versions.page(POLICY_VERSION_LISTING, query)

    def page_policy_moves(self, query: PageQuery) -> Page[PolicyMove]:
        """See `InferenceTx`."""
        return self.policy_moves.page(POLICY_MOVE_LISTING, query)

    def emit(self, kind: str, subject: str, now: datetime, data: Mapping[str, str | float]) -> str:
        """See `InferenceTx`."""
        return _OUTBOX.append(self._connection, kind, subject, now, data)


class SqlStore:
    """`Store` over a database; with a lease, every write is guarded by it.

    Args:
        database: The service's.
        lease: Of the controller that writes; None for everybody else.
    """

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def read(self, work: Callable[[InferenceTx], T]) -> T:
        """See `Store`."""
        return await self._database.read(lambda connection: work(SqlInferenceTx(connection)))

    async def write(self, work: Callable[[InferenceTx], T]) -> T:
        """See `Store`.

        Raises:
            LeaseLost: Another process controls now; nothing was written.
        """

        def guarded(connection: Connection) -> T:
            if self._lease is not None:
                leases.guard(connection, self._lease)
            return work(SqlInferenceTx(connection))

        return await self._database.write(guarded)
