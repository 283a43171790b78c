"""What the monitor's core needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from services.common.criteria import Criteria
from services.common.money import Money
from services.common.resources import Collection, Page, PageQuery
from services.monitor.core.alerts.alerting import Alert
from services.monitor.core.alerts.failures import JobFailure, NotedFailure
from services.monitor.core.evidence import Judgement
from services.monitor.core.explanation import Cause
from services.monitor.core.heat import DriftSummary
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
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.verdicts import RolloutVerdict

Json: TypeAlias = str | int | float | bool | Sequence["Json"] | Mapping[str, "Json"] | None


class MonitorTx(Protocol):
    """One transaction: everything in it happens, or nothing does; writers are serial."""

    monitors: Collection[Monitor]
    policies: Collection[RetrainPolicy]
    drift_reports: Collection[DriftReport]
    performance_reports: Collection[PerformanceReport]
    judgements: Collection[Judgement]
    decisions: Collection[RetrainDecision]
    retrain_events: Collection[RetrainEvent]
    episodes: Collection[Episode]
    slos: Collection[Slo]
    alerts: Collection[Alert]
    restraints: Collection[Restraint]
    job_failures: Collection[NotedFailure]

    @property
    def now(self) -> datetime:
        """The moment at which everything in the transaction happens, UTC."""
        ...

    def new_uid(self) -> str:
        """A new UUID, 32 hex digits."""
        ...

    def monitor_of(self, endpoint: str) -> Monitor | None:
        """The monitor of an endpoint, if it has one."""
        ...

    def every_monitor(self) -> Sequence[Monitor]:
        """All monitors of all projects, oldest first."""
        ...

    def forget_children(self, monitor: str) -> None:
        """Forget the policies, decisions, reports, episodes, objectives and alerts of a monitor.

        Its restraints stay: others have to learn that they are over.
        """
        ...

    def newest_drift(self, monitor: str, version: str, limit: int) -> Sequence[DriftReport]:
        """Reports against the baseline of a version, newest window first."""
        ...

    def newest_performance(
        self, monitor: str, version: str, limit: int
    ) -> Sequence[PerformanceReport]:
        """Reports on a version, newest window first."""
        ...

    def outcomes_since(self, monitor: str, moment: datetime | None) -> int:
        """Outcomes in the judged windows that start at `moment` or later; None counts all."""
        ...

    def judgements_between(
        self, monitor: str, start: datetime, end: datetime, limit: int
    ) -> Sequence[Judgement]:
        """The first ones whose windows end from `start`, inclusive, to `end`, exclusive."""
        ...

    def newest_events(self, monitor: str, before: datetime) -> Sequence[RetrainEvent]:
        """The newest one of each source before an event time, in the order of their sources."""
        ...

    def judged_windows_between(self, monitor: str, start: datetime, end: datetime) -> int:
        """How many judged windows end from `start`, inclusive, to `end`, exclusive."""
        ...

    def unresolved_alert(self, resource: str, *error_classes: str) -> Alert | None:
        """The alert of these classes about a resource that is not over; there is one at most."""
        ...

    def every_restraint(self) -> Sequence[Restraint]:
        """Of all projects, also those that are lifted, oldest first."""
        ...

    def alerts_since(self, moment: datetime) -> Sequence[Alert]:
        """Those that are not over, or changed at `moment` or later; oldest first."""
        ...

    def unresolved_alerts_about(self, resource: str) -> Sequence[Alert]:
        """Those about a resource that are not over, oldest first."""
        ...

    def job_alerts_since(self, moment: datetime) -> Sequence[Alert]:
        """Those about training jobs, not over or changed at `moment` or later; oldest first."""
        ...

    def alerts_of_project(self, project: str, since: datetime | None) -> Sequence[Alert]:
        """All that are not over, or have changed since then, of its monitors too; oldest first."""
        ...

    def open_failures_of(self, job: str) -> Sequence[NotedFailure]:
        """Those of a training job that was not over, in the order they were noted."""
        ...

    def failures_not_over(self, error_class: str) -> Sequence[NotedFailure]:
        """Those of a class whose jobs are not over, in the order they were noted."""
        ...

    def count_failures(self, like: JobFailure, since: datetime) -> tuple[int, int]:
        """Failures of the same class and project from then on: of its line, and on its node.

        None are on a node that is not known.
        """
        ...

    def forget_failures(self, before: datetime) -> None:
        """Forget those that came before a moment."""
        ...

    def open_incident(self, monitor: str) -> str:
        """The incident of a monitor's newest unresolved alert; empty if it has none."""
        ...

    def unfinished_episodes(self) -> Sequence[Episode]:
        """Episodes of all monitors that are not over, oldest first."""
        ...

    def episode_with_uid(self, uid: str) -> Episode | None:
        """The episode that has this correlation id."""
        ...

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> str:
        """Write an event, such as `episode.detected`, into the outbox; gives its id."""
        ...

    def newest_event(self, subject: str) -> str:
        """Id of the newest event about a resource; empty if there is none."""
        ...


class MonitorLists(Protocol):
    """Pages of each kind of resource, from one consistent view."""

    def monitors(self, query: PageQuery) -> Page[Monitor]:
        """Of a project."""
        ...

    def policies(self, query: PageQuery) -> Page[RetrainPolicy]:
        """Of a monitor."""
        ...

    def decisions(self, query: PageQuery) -> Page[RetrainDecision]:
        """Of a monitor, newest first."""
        ...

    def retrain_events(self, query: PageQuery) -> Page[RetrainEvent]:
        """Of a monitor, newest first."""
        ...

    def drift_reports(self, query: PageQuery) -> Page[DriftReport]:
        """Of a monitor."""
        ...

    def drift_summaries(self, monitor: str, windows: int) -> Sequence[DriftSummary]:
        """Of a monitor's newest windows, newest first: much less to read than the reports."""
        ...

    def performance_reports(self, query: PageQuery) -> Page[PerformanceReport]:
        """Of a monitor."""
        ...

    def episodes(self, query: PageQuery) -> Page[Episode]:
        """Of a monitor, newest first."""
        ...

    def slos(self, query: PageQuery) -> Page[Slo]:
        """Of a monitor."""
        ...

    def alerts(self, query: PageQuery) -> Page[Alert]:
        """Of a monitor, or of a project: about its jobs and by all its monitors; newest first."""
        ...

    def job_failures(self, query: PageQuery) -> Page[NotedFailure]:
        """Of a project, newest first."""
        ...


class ObservationLog(Protocol):
    """Keeps what was predicted and what came true; both methods return once it is durable."""

    async def append_observations(self, batch_id: str, arrow_stream: bytes) -> int:
        """Rows that the batch holds; a batch that was seen before is not stored again.

        Raises:
            InvalidBatch: It can't be read, or lacks a column.
        """
        ...

    async def append_outcomes(self, batch_id: str, arrow_stream: bytes) -> int:
        """Rows that the batch holds; a batch that was seen before is not stored again.

        Raises:
            InvalidBatch: It can't be read, or lacks a column.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCase:
    """What a rollout's phase wants judged.

    Attributes:
        endpoint: By resource name.
        candidate: New version, by resource name.
        champion: Version that served before, by resource name.
        since: When the phase began, server clock.
        criteria: What is tested and tolerated.
        min_outcomes: Outcomes of either version that a PASS needs.
        alone: Whether the new version has all the traffic.
    """

    endpoint: str
    candidate: str
    champion: str
    since: datetime
    criteria: Criteria
    min_outcomes: int
    alone: bool


class Judge(Protocol):
    """Compares two versions of an endpoint while both serve."""

    async def judge(self, case: RolloutCase) -> RolloutVerdict:
        """What has arrived since the phase began says so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOrder:
    """Which rows are to be written, and where.

    Attributes:
        monitor: Whose endpoint's observations, by resource name; for errors.
        endpoint: By resource name.
        dataset: That gets the snapshot, by resource name.
        snapshot_id: Last part of the snapshot's name.
        start: Earliest event time, inclusive; None: from the first observation on.
        end: Latest event time, exclusive.
        template_job: Job that gives target and time column, by resource name.
        include_template_snapshot: Whether the rows of that job's snapshot come first.
        request_id: UUID; an order with the same one gives the same snapshot.
    """

    monitor: str
    endpoint: str
    dataset: str
    snapshot_id: str
    start: datetime | None
    end: datetime
    template_job: str
    include_template_snapshot: bool
    request_id: str


@dataclass(frozen=True, slots=True)
class BuiltSnapshot:
    """A sealed snapshot, by resource name, and its rows."""

    name: str
    rows: int


class TrainingSnapshots(Protocol):
    """Writes observations joined with their outcomes as snapshots."""

    async def build(self, order: SnapshotOrder) -> BuiltSnapshot:
        """The snapshot, sealed.

        Raises:
            NoTrainingRows: No observation in that time has an outcome.
            PrivacyHeld: Its rows, or those of the template job's snapshot, are under a hold.
            StepRefused: Another service refused for good, such as an unknown template job.
        """
        ...


class JobCosts(Protocol):
    """What training jobs were charged."""

    async def cost(self, job: str) -> Money | None:
        """Of a job, by resource name; None if it is unknown or nothing was charged.

        Raises:
            RemoteError: It can't be told at present.
        """
        ...


class ServingExplainer(Protocol):
    """Walks back from the version that serves to what caused it."""

    async def explain(self, endpoint: str) -> Cause:
        """The tree of causes below the endpoint.

        Raises:
            EndpointNotFound: There is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What a group of charges amounts to.

    Attributes:
        group: A model's resource name, or a month such as `2026-11`.
        micros: Millionths of the currency.
        seconds: That were charged.
    """

    group: str
    micros: int
    currency: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What training cost; `by_model` the largest first, `by_month` the oldest first."""

    by_model: Sequence[Cost]
    by_month: Sequence[Cost]


class TrainingCosts(Protocol):
    """What training cost."""

    async def of(self, project: str) -> Costs:
        """All costs of a project, deleted jobs included.

        Args:
            project: By resource name.
        """
        ...


class Watching(Protocol):
    """Counts the predictions of endpoints that have a monitor; repeats change nothing."""

    def follow(self, monitor: Monitor, judged_until: datetime | None) -> None:
        """Count an endpoint's predictions, those of the past first, soon."""
        ...

    def unfollow(self, endpoint: str) -> None:
        """Count an endpoint's predictions no longer, soon."""
        ...
