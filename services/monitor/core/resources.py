"""Monitors, policies, decisions and reports: the monitor's resources as frozen values.

Each is described field by field in protos/roundhouse/monitor/v1/monitor.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.common.resources import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTest:
    """When a feature counts as drifted; the defaults are argued in docs/monitoring.md."""

    false_discovery_rate: float = 0.05
    effect_floor: float = 0.1
    persistence_hits: int = 3
    persistence_windows: int = 4
    min_rows: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What watches one endpoint."""

    meta: Meta
    endpoint: str
    dataset: str
    owner: str = ""
    window: timedelta = timedelta(days=7)
    outcome_delay: timedelta = timedelta(days=1)
    drift_test: DriftTest = DriftTest()


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """One bin of the baseline's and the window's histogram."""

    label: str
    baseline_count: int
    window_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPoint:
    """How one feature differs from the baseline in one window."""

    feature: str
    statistic: float
    effect_size: float
    p_value: float
    q_value: float
    baseline_rows: int
    window_rows: int
    threshold: float
    algorithm: str
    significant: bool
    drifted: bool
    bins: tuple[HistogramBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """How one window's features and scores differ from the baseline."""

    meta: Meta
    baseline_version: str
    window_start: datetime
    window_end: datetime
    rows: int
    points: tuple[DriftPoint, ...]

    @property
    def drifted_features(self) -> tuple[str, ...]:
        """Features that have drifted."""
        return tuple(point.feature for point in self.points if point.drifted)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceReport:
    """How well a version, or with an empty version all of them, predicted in one window."""

    meta: Meta
    version: str
    window_start: datetime
    window_end: datetime
    predictions: int
    outcomes: int
    metrics: Mapping[str, float]
    auc_half_width: float
    log_loss_half_width: float


@dataclass(frozen=True, slots=True)
class QualityTrigger:
    """Retrain when `metric` falls by more than `max_drop` below the version's own test value."""

    metric: str
    max_drop: float
    min_outcomes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPolicy:
    """When to retrain; a trigger that is None never fires."""

    meta: Meta
    template_job: str
    min_drifted_features: int | None = None
    quality: QualityTrigger | None = None
    volume_min_new_outcomes: int | None = None
    schedule_period: timedelta | None = None
    cool_down: timedelta = timedelta(days=14)
    min_new_outcomes: int = 1000
    include_template_snapshot: bool = False
    lookback_days: int = 0
    min_phase_outcomes: int = 200


class DecisionKind(StrEnum):
    """What was decided about retraining."""

    TRIGGERED = "TRIGGERED"
    DECLINED = "DECLINED"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainDecision:
    """What was decided at one moment, and by which numbers."""

    meta: Meta
    policy: str
    event_time: datetime
    kind: DecisionKind
    reason: str
    explanation: str
    numbers: Mapping[str, float]
    report: str = ""
    episode: str = ""
