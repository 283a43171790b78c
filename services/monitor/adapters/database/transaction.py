"""One transaction of the monitor over a database connection."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select

from services.common.resources import Collection
from services.common.store.documents import SqlCollection
from services.common.store.outbox import Outbox
from services.common.store.tables import EVENT
from services.monitor.adapters.database.tables import (
    ALERTS,
    DECISIONS,
    DRIFT_REPORTS,
    EPISODES,
    JOB_FAILURES,
    JUDGEMENTS,
    MONITORS,
    PERFORMANCE_REPORTS,
    POLICIES,
    RESTRAINTS,
    RETRAIN_EVENTS,
    SLOS,
)
from services.monitor.core.alerts.alerting import Alert, AlertState
from services.monitor.core.alerts.failures import JobFailure, NotedFailure
from services.monitor.core.evidence import Judgement
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.ports import Json
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainEvent,
    RetrainPolicy,
)
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.slos.restraints import Restraint

_OUTBOX: Final = Outbox("monitor")
_OF_MONITOR: Final = (
    POLICIES,
    DRIFT_REPORTS,
    PERFORMANCE_REPORTS,
    JUDGEMENTS,
    DECISIONS,
    RETRAIN_EVENTS,
    EPISODES,
    SLOS,
    ALERTS,
)
_OVER: Final = [state.value for state in EpisodeState if state.is_over]
_RESOLVED: Final = AlertState.RESOLVED.value
_UNRESOLVED_ALERT: Final = select(ALERTS.table).where(
    ALERTS.table.c.resource == bindparam("about"),
    ALERTS.table.c.error_class.in_(bindparam("classes", expanding=True)),
    ALERTS.table.c.state != _RESOLVED,
)
_FAILURES_OF_JOB: Final = (
    select(JOB_FAILURES.table)
    .where(JOB_FAILURES.table.c.job == bindparam("of_job"), ~JOB_FAILURES.table.c.is_over)
    .order_by(JOB_FAILURES.table.c.seq)
)


class SqlMonitorTx:
    """`MonitorTx` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        now: The moment at which everything in it happens.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._monitors = SqlCollection(connection, MONITORS)
        self._episodes = SqlCollection(connection, EPISODES)
        self._alerts = SqlCollection(connection, ALERTS)
        self.monitors: Collection[Monitor] = self._monitors
        self.policies: Collection[RetrainPolicy] = SqlCollection(connection, POLICIES)
        self._drift_reports = SqlCollection(connection, DRIFT_REPORTS)
        self.drift_reports: Collection[DriftReport] = self._drift_reports
        self._performance_reports = SqlCollection(connection, PERFORMANCE_REPORTS)
        self.performance_reports: Collection[PerformanceReport] = self._performance_reports
        self._judgements = SqlCollection(connection, JUDGEMENTS)
        self.judgements: Collection[Judgement] = self._judgements
        self.decisions: Collection[RetrainDecision] = SqlCollection(connection, DECISIONS)
        self._retrain_events = SqlCollection(connection, RETRAIN_EVENTS)
        self.retrain_events: Collection[RetrainEvent] = self._retrain_events
        self.episodes: Collection[Episode] = self._episodes
        self.alerts: Collection[Alert] = self._alerts
        self.slos: Collection[Slo] = SqlCollection(connection, SLOS)
        self._restraints = SqlCollection(connection, RESTRAINTS)
        self.restraints: Collection[Restraint] = self._restraints
        self._job_failures = SqlCollection(connection, JOB_FAILURES)
        self.job_failures: Collection[NotedFailure] = self._job_failures

    @property
    def now(self) -> datetime:
        """See `MonitorTx`."""
        return self._now

    def new_uid(self) -> str:
        """See `MonitorTx`."""
        return uuid.uuid4().hex

    def monitor_of(self, endpoint: str) -> Monitor | None:
        """See `MonitorTx`."""
        row = self._connection.execute(
            select(MONITORS.table).where(MONITORS.table.c.endpoint == endpoint)
        ).one_or_none()
        return None if row is None else MONITORS.from_row(row)

    def every_monitor(self) -> Sequence[Monitor]:
        """See `MonitorTx`."""
        return self._monitors.where(select(MONITORS.table))

    def forget_children(self, monitor: str) -> None:
        """See `MonitorTx`."""
        for kind in _OF_MONITOR:
            self._connection.execute(kind.table.delete().where(kind.table.c.parent == monitor))

    def unresolved_alert(self, resource: str, *error_classes: str) -> Alert | None:
        """See `MonitorTx`."""
        about = {"about": resource, "classes": error_classes}
        row = self._connection.execute(_UNRESOLVED_ALERT, about).one_or_none()
        return None if row is None else ALERTS.from_row(row)

    def every_restraint(self) -> Sequence[Restraint]:
        """See `MonitorTx`."""
        return self._restraints.where(select(RESTRAINTS.table))

    def alerts_since(self, moment: datetime) -> Sequence[Alert]:
        """See `MonitorTx`."""
        table = ALERTS.table
        return self._alerts.where(
            select(table).where(or_(table.c.state != _RESOLVED, table.c.update_time >= moment))
        )

    def unresolved_alerts_about(self, resource: str) -> Sequence[Alert]:
        """See `MonitorTx`."""
        table = ALERTS.table
        return self._alerts.where(
            select(table).where(table.c.resource == resource, table.c.state != _RESOLVED)
        )

    def job_alerts_since(self, moment: datetime) -> Sequence[Alert]:
        """See `MonitorTx`."""
        table = ALERTS.table
        recent = or_(table.c.state != _RESOLVED, table.c.update_time >= moment)
        return self._alerts.where(
            select(table).where(recent, ~table.c.parent.contains("/monitors/"))
        )

    def alerts_of_project(self, project: str, since: datetime | None) -> Sequence[Alert]:
        """See `MonitorTx`."""
        columns = ALERTS.table.c
        wanted = columns.state != _RESOLVED
        if since is not None:
            wanted |= columns.update_time >= since
        of_monitors = columns.parent.startswith(f"{project}/monitors/", autoescape=True)
        within = (columns.parent == project) | of_monitors
        return self._alerts.where(select(ALERTS.table).where(within, wanted))

    def open_failures_of(self, job: str) -> Sequence[NotedFailure]:
        """See `MonitorTx`."""
        found = self._connection.execute(_FAILURES_OF_JOB, {"of_job": job})
        return [JOB_FAILURES.from_row(row) for row in found]

    def failures_not_over(self, error_class: str) -> Sequence[NotedFailure]:
        """See `MonitorTx`."""
        table = JOB_FAILURES.table
        return self._job_failures.where(
            select(table).where(table.c.error_class == error_class, ~table.c.is_over)
        )

    def count_failures(self, like: JobFailure, since: datetime) -> tuple[int, int]:
        """See `MonitorTx`."""
        columns = JOB_FAILURES.table.c

        def count(condition: ColumnElement[bool]) -> int:
            alike = (
                columns.parent == like.project,
                columns.error_class == like.error_class,
                columns.time >= since,
            )
            found = self._connection.execute(select(func.count()).where(condition, *alike))
            return int(found.scalar_one())

        of_line = count(columns.line == like.line)
        return of_line, count(columns.node == like.node) if like.node else 0

    def forget_failures(self, before: datetime) -> None:
        """See `MonitorTx`."""
        table = JOB_FAILURES.table
        self._connection.execute(table.delete().where(table.c.time < before))

    def open_incident(self, monitor: str) -> str:
        """See `MonitorTx`."""
        table = ALERTS.table
        newest = self._connection.execute(
            select(table.c.incident)
            .where(table.c.parent == monitor, table.c.state != _RESOLVED)
            .order_by(table.c.seq.desc())
            .limit(1)
        ).scalar_one_or_none()
        return newest or ""

    def unfinished_episodes(self) -> Sequence[Episode]:
        """See `MonitorTx`."""
        table = EPISODES.table
        return self._episodes.where(select(table).where(table.c.state.not_in(_OVER)))

    def episode_with_uid(self, uid: str) -> Episode | None:
        """See `MonitorTx`."""
        found = self._episodes.where(select(EPISODES.table).where(EPISODES.table.c.uid == uid))
        return found[0] if found else None

    def newest_event(self, subject: str) -> str:
        """See `MonitorTx`."""
        newest = self._connection.execute(
            select(EVENT.c.id)
            .where(EVENT.c.subject == subject)
            .order_by(EVENT.c.seq.desc())
            .limit(1)
        ).scalar_one_or_none()
        return newest or ""

    def newest_drift(self, monitor: str, version: str, limit: int) -> Sequence[DriftReport]:
        """See `MonitorTx`."""
        table = DRIFT_REPORTS.table
        return self._drift_reports.ordered(
            select(table)
            .where(table.c.parent == monitor, table.c.baseline_version == version)
            .order_by(table.c.window_start_time.desc())
            .limit(limit)
        )

    def newest_performance(
        self, monitor: str, version: str, limit: int
    ) -> Sequence[PerformanceReport]:
        """See `MonitorTx`."""
        table = PERFORMANCE_REPORTS.table
        return self._performance_reports.ordered(
            select(table)
            .where(table.c.parent == monitor, table.c.version == version)
            .order_by(table.c.window_start_time.desc())
            .limit(limit)
        )

    def outcomes_since(self, monitor: str, moment: datetime | None) -> int:
        """See `MonitorTx`."""
        table = PERFORMANCE_REPORTS.table
        total = select(func.coalesce(func.sum(table.c.outcomes), 0)).where(
            table.c.parent == monitor, table.c.version == ""
        )
        if moment is not None:
            total = total.where(table.c.window_start_time >= moment)
        return int(self._connection.execute(total).scalar_one())

    def judgements_between(
        self, monitor: str, start: datetime, end: datetime, limit: int
    ) -> Sequence[Judgement]:
        """See `MonitorTx`."""
        table = JUDGEMENTS.table
        return self._judgements.ordered(
            select(table)
            .where(table.c.parent == monitor, table.c.event_time >= start, table.c.event_time < end)
            .order_by(table.c.event_time)
            .limit(limit)
        )

    def newest_events(self, monitor: str, before: datetime) -> Sequence[RetrainEvent]:
        """See `MonitorTx`."""
        table = RETRAIN_EVENTS.table
        past = (table.c.parent == monitor) & (table.c.event_time < before)
        newest = select(table.c.source, func.max(table.c.event_time).label("event_time"))
        of_source = newest.where(past).group_by(table.c.source).subquery()
        found = self._retrain_events.where(
            select(table)
            .join(
                of_source,
                (table.c.source == of_source.c.source)
                & (table.c.event_time == of_source.c.event_time),
            )
            .where(past)
        )
        by_source = {event.source: event for event in found}
        return [by_source[source] for source in sorted(by_source)]

    def judged_windows_between(self, monitor: str, start: datetime, end: datetime) -> int:
        """See `MonitorTx`."""
        table = PERFORMANCE_REPORTS.table
        judged = select(func.count()).where(
            table.c.parent == monitor,
            table.c.version == "",
            table.c.window_end_time >= start,
            table.c.window_end_time < end,
        )
        return int(self._connection.execute(judged).scalar_one())

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> str:
        """See `MonitorTx`."""
        return _OUTBOX.append(self._connection, kind, subject, self._now, data)
