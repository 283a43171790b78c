"""What following the log needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.common.profiles import Profile
from services.monitor.core.stream.batches import Batch
from services.monitor.core.stream.tallies import Tally
from services.monitor.core.windows import Window


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a version was trained on and scored then.

    Attributes:
        profile: None when its bundle has none; its features are then not watched.
        test_metrics: Of the test part that it was registered with, by metric.
        trained_until: Event time of the last row that it was trained on, if known.
        columns: That it takes, or that its training data had beside those; empty: unknown.
    """

    profile: Profile | None = None
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    trained_until: datetime | None = None
    columns: frozenset[str] = frozenset()


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
        self,
        endpoint: str,
        *,
        since: datetime | None,
        until_position: int,
        arrived_since: datetime | None = None,
    ) -> Sequence[Batch]:
        """The predictions of an endpoint and all outcomes, in the order of their positions.

        Args:
            endpoint: By resource name.
            since: Earliest event time wanted, inclusive; None for all.
            arrived_since: Earliest arrival wanted, server clock, inclusive; None for all.
            until_position: Last position wanted.
        """
        ...


@dataclass(frozen=True, slots=True)
class CompleteWindow:
    """A window that gets no more outcomes.

    Attributes:
        monitor: By resource name.
        window: Which.
        tallies: By version; at least one.
        baselines: By version.
    """

    monitor: str
    window: Window
    tallies: Mapping[str, Tally]
    baselines: Mapping[str, Baseline]

    @property
    def serving(self) -> str:
        """The version with the most predictions."""
        return max(sorted(self.tallies), key=lambda version: self.tallies[version].rows)


class WindowJudge(Protocol):
    """Stores what a complete window shows; doing so again changes nothing."""

    async def __call__(self, complete: CompleteWindow) -> None:
        """Judge it durably.

        Raises:
            Unavailable: It can't be stored at present.
        """
        ...
