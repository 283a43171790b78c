"""What decisions about retraining rest on, kept for each judged window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.common.resources import Meta
from services.monitor.core.resources import DataFault

_LOWER_IS_BETTER: Final = frozenset({"log_loss"})


@dataclass(frozen=True, slots=True)
class MeasuredQuality:
    """A metric of the serving version in the newest windows, beside its own test value.

    Attributes:
        metric: `auc` or `log_loss`.
        value: Mean over the windows.
        half_width: Of the 95 % interval of `value`.
        test_value: What the version scored on the test part that it was registered with.
        outcomes: In the window that has the fewest.
        report: Newest performance report, by resource name.
    """

    metric: str
    value: float
    half_width: float
    test_value: float
    outcomes: int
    report: str

    @property
    def drop(self) -> float:
        """How much worse than the test value; below 0 when better."""
        worse = self.test_value - self.value
        return -worse if self.metric in _LOWER_IS_BETTER else worse


@dataclass(frozen=True, slots=True)
class Happened:
    """The newest event of a source, as `RetrainEvent` has it."""

    source: str
    event: str
    description: str
    event_time: datetime


@dataclass(frozen=True, slots=True)
class SlowAnswers:
    """A latency objective that burns.

    Attributes:
        slo: By resource name.
        bound: Longest that a good answer takes.
        burn_rate: How many times faster than allowed, when its alert was opened or escalated.
        remaining: Share of its budget that was left then.
    """

    slo: str
    bound: timedelta
    burn_rate: float
    remaining: float


@dataclass(frozen=True, slots=True)
class LowBudget:
    """An error budget that has frozen training.

    Attributes:
        slo: Whose, by resource name.
        remaining: Share of it that was left when it froze training.
        until_above: Share that has to be left, strictly more than this, for training to go on.
    """

    slo: str
    remaining: float
    until_above: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known when a window has been judged.

    Attributes:
        event_time: The window's end.
        drifted: Features that have drifted.
        significant: Features that this window alone shows.
        faults: What is broken about the window's values.
        drift_report: By resource name; empty if the window had too few rows.
        quality: By metric.
        new_outcomes: Rows with outcomes since the serving version's training data ended.
        trained_until: Event time of the last row that the serving version was trained on.
        events: The newest of each source before the window's end.
        new_features: Columns that the serving version was not trained beside.
        slow: A latency objective of the monitor whose alert is not over; None if there is none.
        predictions: Of all versions in the window.
        window: Its length.
        low_budget: That has frozen the project's training; None if none has.
    """

    event_time: datetime
    drifted: tuple[str, ...] = ()
    significant: tuple[str, ...] = ()
    faults: tuple[DataFault, ...] = ()
    drift_report: str = ""
    quality: Mapping[str, MeasuredQuality] = field(default_factory=dict)
    new_outcomes: int = 0
    trained_until: datetime | None = None
    events: tuple[Happened, ...] = ()
    new_features: tuple[str, ...] = ()
    slow: SlowAnswers | None = None
    predictions: int = 0
    window: timedelta = timedelta()
    low_budget: LowBudget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was known when a window had been judged, kept so that it can be decided on again.

    Attributes:
        meta: Its name ends with the window's key.
        window_start: Event time.
        champion: Version that served, by resource name.
        outcomes: Of all versions in the window.
        evidence: What policies were held against.
    """

    meta: Meta
    window_start: datetime
    champion: str
    outcomes: int
    evidence: Evidence

    @property
    def event_time(self) -> datetime:
        """The window's end."""
        return self.evidence.event_time
