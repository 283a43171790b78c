"""Pages of each kind of resource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from services.common.resources import Page, PageQuery
from services.common.store.documents import SqlCollection
from services.monitor.adapters.database.tables import (
    ALERTS,
    DECISIONS,
    DRIFT_REPORTS,
    EPISODES,
    JOB_FAILURES,
    MONITORS,
    PERFORMANCE_REPORTS,
    POLICIES,
    RETRAIN_EVENTS,
    SLOS,
    SUMMARIES,
)
from services.monitor.core.alerts.alerting import Alert
from services.monitor.core.alerts.failures import NotedFailure
from services.monitor.core.heat import DriftSummary, summary_of
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainEvent,
    RetrainPolicy,
)
from services.monitor.core.slos.objectives import Slo

_WINDOW: Final = ("window_start_time", "window_end_time")

_MONITORS: Final = MONITORS.listing(
    filterable=("endpoint", "owner", "labels"), orderable=("name", "create_time")
)
_DRIFT_REPORTS: Final = DRIFT_REPORTS.listing(filterable=("baseline_version",), orderable=_WINDOW)
_PERFORMANCE_REPORTS: Final = PERFORMANCE_REPORTS.listing(
    filterable=("version",), orderable=_WINDOW
)
_POLICIES: Final = POLICIES.listing(filterable=(), orderable=("name",))
_DECISIONS: Final = DECISIONS.listing(
    filterable=("kind", "reason", "policy", "event_time"), orderable=("create_time desc",)
)
_EPISODES: Final = EPISODES.listing(
    filterable=("state",), orderable=("create_time desc", "update_time")
)
_RETRAIN_EVENTS: Final = RETRAIN_EVENTS.listing(filterable=(), orderable=("create_time desc",))
_SLOS: Final = SLOS.listing(filterable=(), orderable=("name",))
_ALERTS: Final = ALERTS.listing(
    filterable=("state", "severity", "resource", "error_class", "incident"),
    orderable=("create_time desc",),
)
_JOB_FAILURES: Final = JOB_FAILURES.listing(
    filterable=("job", "error_class", "node"), orderable=("time desc",)
)


class SqlMonitorLists:
    """`MonitorLists` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def monitors(self, query: PageQuery) -> Page[Monitor]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, MONITORS).page(_MONITORS, query)

    def drift_reports(self, query: PageQuery) -> Page[DriftReport]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, DRIFT_REPORTS).page(_DRIFT_REPORTS, query)

    def drift_summaries(self, monitor: str, windows: int) -> Sequence[DriftSummary]:
        """See `MonitorLists`; a report from before there were summaries is read whole."""
        columns = DRIFT_REPORTS.table.c
        order = columns.window_start_time.desc(), columns.seq.desc()
        of_monitor = select(columns.seq).where(columns.parent == monitor)
        keys = of_monitor.order_by(*order).limit(windows)  # a sort reads all that is selected
        newest = self._connection.execute(
            select(columns.name, columns.create_time, columns.summary)
            .where(columns.seq.in_(keys))
            .order_by(*order)
        )
        reports = SqlCollection(self._connection, DRIFT_REPORTS)
        found = []
        for row in newest.all():
            if row.summary is not None:
                summary = {**row.summary, "create_time": row.create_time}
                found.append(SUMMARIES.validate_python(summary))
            elif (report := reports.get(row.name)) is not None:
                found.append(summary_of(report))
        return found

    def performance_reports(self, query: PageQuery) -> Page[PerformanceReport]:
        """See `MonitorLists`."""
        reports = SqlCollection(self._connection, PERFORMANCE_REPORTS)
        return reports.page(_PERFORMANCE_REPORTS, query)

    def policies(self, query: PageQuery) -> Page[RetrainPolicy]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, POLICIES).page(_POLICIES, query)

    def decisions(self, query: PageQuery) -> Page[RetrainDecision]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, DECISIONS).page(_DECISIONS, query)

    def retrain_events(self, query: PageQuery) -> Page[RetrainEvent]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, RETRAIN_EVENTS).page(_RETRAIN_EVENTS, query)

    def episodes(self, query: PageQuery) -> Page[Episode]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, EPISODES).page(_EPISODES, query)

    def slos(self, query: PageQuery) -> Page[Slo]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, SLOS).page(_SLOS, query)

    def alerts(self, query: PageQuery) -> Page[Alert]:
        """See `MonitorLists`."""
        parent = ALERTS.table.c.parent
        of_monitors = parent.startswith(f"{query.parent}/monitors/", autoescape=True)
        within = (parent == query.parent) | of_monitors
        return SqlCollection(self._connection, ALERTS).page(_ALERTS, query, within)

    def job_failures(self, query: PageQuery) -> Page[NotedFailure]:
        """See `MonitorLists`."""
        return SqlCollection(self._connection, JOB_FAILURES).page(_JOB_FAILURES, query)
