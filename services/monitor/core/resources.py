"""Monitors, policies, decisions and reports: the monitor's resources as frozen values.

Each is described field by field in protos/roundhouse/monitor/v1/monitor.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.common.money import Money
from services.common.resources import Meta
from services.monitor.core.schedules import CronSchedule


class ChangeKind(StrEnum):
    """What has changed in the world; see `DriftReport.Change` in monitor.proto."""

    NONE = "NONE"
    DATA_DRIFT = "DATA_DRIFT"
    JOINT_DRIFT = "JOINT_DRIFT"
    LABEL_SHIFT = "LABEL_SHIFT"
    CONCEPT_DRIFT = "CONCEPT_DRIFT"
    OUTCOME_CHANGE = "OUTCOME_CHANGE"
    DATA_FAULT = "DATA_FAULT"
    SERVING_SKEW = "SERVING_SKEW"


class Severity(StrEnum):
    """Who has to look, and when; see `DriftReport.Severity` in monitor.proto."""

    NONE = "NONE"
    TICKET = "TICKET"
    PAGE = "PAGE"


class FaultKind(StrEnum):
    """How data can be broken; see `DataFault.Kind` in monitor.proto."""

    SCHEMA_CHANGE = "SCHEMA_CHANGE"
    UNIT_CHANGE = "UNIT_CHANGE"
    STUCK_SENSOR = "STUCK_SENSOR"
    NULL_STORM = "NULL_STORM"
    STALE_FEATURE = "STALE_FEATURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTest:
    """When a feature counts as drifted; the defaults are argued in docs/monitoring.md."""

    false_discovery_rate: float = 0.05
    effect_floor: float = 0.1
    persistence_hits: int = 3
    persistence_windows: int = 4
    min_rows: int = 500
    false_alarm_budget: float = 0.05


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
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """One bin of the baseline's and the window's histogram."""

    label: str
    baseline_count: int
    window_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPoint:
    """How one feature differs from the baseline in one window; see monitor.proto."""

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
    excess: float = 0.0
    lasting_q_value: float = 1.0
    reason: str = ""
    skewed: bool = False

    @property
    def is_alarm(self) -> bool:
        """Whether it counts, as drift or as serving skew."""
        return self.drifted or self.skewed


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFault:
    """What is broken about one feature's values in one window."""

    kind: FaultKind
    feature: str
    reason: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptState:
    """What the outcomes have said so far about the scores' meaning.

    Attributes:
        log_values: Of each bet's CUSUM after the window's last outcome, in nats.
        evidence: Largest logarithm of their mean in the window, in nats.
        threshold: That `evidence` is held against, in nats.
        outcomes: In the window.
        reason: Why this is or is no alarm, in a sentence.
    """

    log_values: tuple[float, ...]
    evidence: float
    threshold: float
    outcomes: int
    reason: str

    @property
    def alarms(self) -> bool:
        """Whether the evidence suffices."""
        return self.outcomes > 0 and self.evidence >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEstimate:
    """What the scores promise of themselves, without outcomes.

    Attributes:
        metrics: `auc`, `log_loss` and `positive_rate`, where defined.
        doubts: Why the estimate can't be trusted, a sentence each; empty if it can.
    """

    metrics: Mapping[str, float]
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePoint:
    """How one feature, or the score, differs from the baseline in one slice; see monitor.proto."""

    slice_feature: str
    slice_value: str
    feature: str
    effect_size: float
    threshold: float
    q_value: float
    baseline_rows: int
    window_rows: int
    stands_out: bool
    hits: int
    lasts: bool
    bins: tuple[HistogramBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDrift:
    """What one window shows slice by slice; see monitor.proto."""

    measured: int
    standing_out: int
    lasting: int
    points: tuple[SlicePoint, ...]
    unsliced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionPoint:
    """How much the scores follow one feature, then and now; see monitor.proto."""

    feature: str
    baseline: float
    window: float
    half_width: float
    moved: bool
    hits: int
    lasts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionDrift:
    """What the scores of one window follow; see monitor.proto."""

    baseline_rows: int
    window_rows: int
    measured: int
    moved: int
    lasting: int
    points: tuple[AttributionPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """How one window's features and scores differ from the baseline."""

    meta: Meta
    baseline_version: str
    window_start: datetime
    window_end: datetime
    rows: int
    points: tuple[DriftPoint, ...]
    change: ChangeKind = ChangeKind.NONE
    severity: Severity = Severity.NONE
    reason: str = ""
    faults: tuple[DataFault, ...] = ()
    concept: ConceptState | None = None
    estimate: QualityEstimate | None = None
    slices: SliceDrift | None = None
    attributions: AttributionDrift | None = None

    @property
    def drifted_features(self) -> tuple[str, ...]:
        """What has drifted, each once."""
        return tuple(dict.fromkeys(point.feature for point in self.points if point.drifted))


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceQuality:
    """How well the rows that share a value of a feature were predicted in one window."""

    feature: str
    value: str
    predictions: int
    outcomes: int
    metrics: Mapping[str, float]
    auc_half_width: float
    log_loss_half_width: float


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
    slices: tuple[SliceQuality, ...] = ()


@dataclass(frozen=True, slots=True)
class QualityTrigger:
    """Retrain when `metric` falls by more than `max_drop` below the version's own test value."""

    metric: str
    max_drop: float
    min_outcomes: int


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Retrain when an event of these kinds happens, or a snapshot of these datasets is sealed."""

    kinds: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewFeatureTrigger:
    """Retrain when there are columns that the serving version was not trained beside."""

    min_columns: int = 1
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServingPrice:
    """What serving costs an hour, and the most that a thousand predictions may cost."""

    per_hour: Money
    max_per_thousand: Money


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Recommend to distil while latency, or the price of predictions, is the problem."""

    price: ServingPrice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainEvent:
    """Something that happened outside of the monitor.

    Attributes:
        source: Kind of a declared event, or dataset of a sealed snapshot by resource name.
        snapshot: That was sealed, by resource name; empty for a declared event.
        columns: Of the snapshot.
    """

    meta: Meta
    source: str
    description: str
    event_time: datetime
    snapshot: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrainBudget:
    """What the retrainings of any `period` of event time may cost together."""

    limit: Money
    period: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPolicy:
    """When to retrain; a trigger that is None never fires."""

    meta: Meta
    template_job: str
    min_drifted_features: int | None = None
    quality: QualityTrigger | None = None
    volume_min_new_outcomes: int | None = None
    schedule_period: timedelta | None = None
    schedule_cron: CronSchedule | None = None
    cool_down: timedelta = timedelta(days=14)
    min_new_outcomes: int = 1000
    include_template_snapshot: bool = False
    lookback_days: int = 0
    min_phase_outcomes: int = 200
    privacy_hold: str = ""
    budget: RetrainBudget | None = None
    worth_of_hundredth: Money | None = None
    events: EventTrigger | None = None
    new_features: NewFeatureTrigger | None = None
    efficiency: Efficiency | None = None
    critical: bool = False


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
