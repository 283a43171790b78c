"""Explains what serves, out of the monitor's own records and those of its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import grpc

from services.common.clock import Clock
from services.common.errors import NotFound
from services.common.rpc.remote import RemoteError
from services.common.store.database import Database
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.errors import EndpointNotFound
from services.monitor.core.explanation import Cause, CauseKind, Fact, FactSource, Link, explain
from services.monitor.core.names import DRIFT_REPORT
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import DriftPoint
from services.monitor.core.use_cases.lookup import (
    the_decision,
    the_drift_report,
    the_episode,
    the_performance_report,
)

T = TypeVar("T")

_TOLD_FEATURES = 5


class LocalFacts:
    """What the monitor itself knows of how a version came to serve.

    Args:
        database: The monitor's.
        now: The clock.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    async def episode(self, name: str) -> Fact:
        """How it ended, and the decision that started it."""
        found = await self._read(lambda tx: the_episode(tx, name))
        return Fact(
            f"{found.state.value}. {found.message}".strip(),
            found.meta.create_time,
            (Link(CauseKind.DECISION, found.decision),),
        )

    async def decision(self, name: str) -> Fact:
        """Its numbers in words, and the report that gave rise to it."""
        found = await self._read(lambda tx: the_decision(tx, name))
        causes: tuple[Link, ...] = ()
        if found.report:
            drift = DRIFT_REPORT.matches(found.report)
            kind = CauseKind.DRIFT_REPORT if drift else CauseKind.PERFORMANCE_REPORT
            causes = (Link(kind, found.report),)
        return Fact(f"{found.reason}: {found.explanation}", found.meta.create_time, causes)

    async def drift_report(self, name: str) -> Fact:
        """Which features drifted, and how far."""
        found = await self._read(lambda tx: the_drift_report(tx, name))
        drifted = sorted(
            (point for point in found.points if point.drifted),
            key=lambda point: -point.effect_size,
        )
        told = ", ".join(_distance(point) for point in drifted[:_TOLD_FEATURES])
        return Fact(
            f"{len(drifted)} of {len(found.points)} features drifted in {found.rows:,} rows from "
            f"{found.window_start:%Y-%m-%d} to {found.window_end:%Y-%m-%d}: {told or 'none'}.",
            found.meta.create_time,
        )

    async def performance_report(self, name: str) -> Fact:
        """The scores."""
        found = await self._read(lambda tx: the_performance_report(tx, name))
        scores = ", ".join(
            f"{metric} {value:.4f}" for metric, value in sorted(found.metrics.items())
        )
        return Fact(
            f"{scores or 'No scores'} over {found.outcomes:,} outcomes from "
            f"{found.window_start:%Y-%m-%d} to {found.window_end:%Y-%m-%d}.",
            found.meta.create_time,
        )

    async def episode_name(self, uid: str) -> str:
        """The name of the episode with a uid; empty if there is none."""

        found = await self._read(lambda tx: tx.episode_with_uid(uid))
        return "" if found is None else found.meta.name

    def sources(self) -> dict[CauseKind, FactSource]:
        """Who knows each kind that lives in the monitor."""
        return {
            CauseKind.EPISODE: self.episode,
            CauseKind.DECISION: self.decision,
            CauseKind.DRIFT_REPORT: self.drift_report,
            CauseKind.PERFORMANCE_REPORT: self.performance_report,
        }

    async def _read(self, work: Callable[[MonitorTx], T]) -> T:
        return await self._database.read(
            lambda connection: work(SqlMonitorTx(connection, self._now()))
        )


class Explainer:
    """Implements `ServingExplainer`.

    Args:
        sources: Who knows each kind.
    """

    def __init__(self, sources: Mapping[CauseKind, FactSource]) -> None:
        endpoint = sources[CauseKind.ENDPOINT]
        self._sources = {kind: _forgiving(source) for kind, source in sources.items()}
        self._sources[CauseKind.ENDPOINT] = endpoint

    async def explain(self, endpoint: str) -> Cause:
        """See `ServingExplainer`."""
        try:
            return await explain(Link(CauseKind.ENDPOINT, endpoint), self._sources)
        except RemoteError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                raise EndpointNotFound(endpoint) from error
            raise


def _forgiving(source: FactSource) -> FactSource:
    """What was deleted since ends its branch of the tree, not the explanation."""

    async def tell(name: str) -> Fact:
        try:
            return await source(name)
        except NotFound:
            return _GONE
        except RemoteError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return _GONE
            raise

    return tell


_GONE = Fact("Was deleted since.", None)


def _distance(point: DriftPoint) -> str:
    return f"{point.feature} (distance {point.effect_size:.2f}, q {point.q_value:.1g})"
