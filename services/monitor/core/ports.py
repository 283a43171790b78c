"""What the monitor's core needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from services.common.profiles import Profile
from services.common.resources import Collection
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainPolicy,
)
from services.monitor.core.stream.batches import Batch

Json: TypeAlias = str | int | float | bool | Sequence["Json"] | Mapping[str, "Json"] | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a version was trained on and scored then.

    Attributes:
        profile: None when its bundle has none; its features are then not watched.
        test_metrics: Of the test part that it was registered with, by metric.
        trained_until: Event time of the last row that it was trained on, if known.
    """

    profile: Profile | None = None
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    trained_until: datetime | None = None


class Baselines(Protocol):
    """Where versions' baselines come from."""

    async def baseline(self, version: str) -> Baseline:
        """Of a version, by resource name; an empty one if the version is unknown.

        Raises:
            Unavailable: It can't be told at present.
        """
        ...


class PredictionLog(Protocol):
    """What was predicted and came true, as it became durable."""

    async def replay(
        self, endpoint: str, *, since: datetime | None, until_position: int
    ) -> Sequence[Batch]:
        """The predictions of an endpoint and all outcomes, in the order of their positions.

        Args:
            endpoint: By resource name.
            since: Earliest event time wanted, inclusive; None for all.
            until_position: Last position wanted.
        """
        ...


class MonitorTx(Protocol):
    """One transaction: everything in it happens, or nothing does; writers are serial."""

    monitors: Collection[Monitor]
    policies: Collection[RetrainPolicy]
    drift_reports: Collection[DriftReport]
    performance_reports: Collection[PerformanceReport]
    decisions: Collection[RetrainDecision]
    episodes: Collection[Episode]

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

    def judged_until(self, monitor: str) -> datetime | None:
        """End of the newest judged window of a monitor; None before the first."""
        ...

    def set_judged_until(self, monitor: str, moment: datetime) -> None:
        """Note that a monitor's windows up to `moment` are judged."""
        ...

    def last_end(self, monitor: str) -> datetime | None:
        """What `judged_until` was when the monitor's newest finished episode ended."""
        ...

    def set_last_end(self, monitor: str, moment: datetime) -> None:
        """Note when, in event time, an episode of the monitor ended."""
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

    def active_episode(self, monitor: str) -> Episode | None:
        """The episode of the monitor that is not over, if there is one."""
        ...

    def forget(self, monitor: str) -> None:
        """Remove a monitor with everything under it."""
        ...

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> str:
        """Write an event, such as `episode.detected`, into the outbox; gives its id."""
        ...
