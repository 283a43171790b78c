"""A report's value, made of what the services said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from google.type.money_pb2 import Money
from roundhouse.cli import names
from roundhouse.cli.report.gathering import Gathered, Watched, moment
from roundhouse.cli.report.periods import Period
from roundhouse.monitor.v1.alert_pb2 import Alert
from roundhouse.monitor.v1.judgement_service_pb2 import Cause
from roundhouse.monitor.v1.monitor_pb2 import (
    DriftReport,
    Episode,
    PerformanceReport,
    RetrainDecision,
)
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo
from roundhouse.trainer.v1.job_pb2 import JobError, TrainingJob


@dataclass(frozen=True, slots=True)
class CauseLine:
    """One cause, `depth` steps back from what serves."""

    depth: int
    kind: str
    name: str
    summary: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class QualityLine:
    """How well one window's predictions were; a metric is None where it is not defined."""

    start: datetime
    end: datetime
    predictions: int
    outcomes: int
    auc: float | None
    auc_half_width: float
    log_loss: float | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True)
class DriftLine:
    """Windows in a row with the same alarm.

    Attributes:
        reason: Of the newest of them.
    """

    change: str
    severity: str
    start: datetime
    end: datetime
    windows: int
    features: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """What was decided about retraining.

    Attributes:
        numbers: By name.
        ended: How the episode that it started stands; empty for a refusal.
    """

    time: datetime
    triggered: bool
    reason: str
    explanation: str
    numbers: tuple[tuple[str, float], ...]
    ended: str


@dataclass(frozen=True, slots=True)
class ObjectiveLine:
    """How an objective stood at the period's end, over its own window.

    Attributes:
        until: The newest event that counts; None before the first.
        unknown: Why nothing can be told; empty if it can.
    """

    name: str
    counts: str
    target: float
    window_days: float
    good: int = 0
    total: int = 0
    sli: float = 1.0
    remaining: float = 1.0
    until: datetime | None = None
    unknown: str = ""

    @property
    def met(self) -> bool:
        """Whether the target was reached."""
        return self.remaining >= 0


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert; `ended` is None while it is unresolved, `acknowledged_by` empty before.

    Attributes:
        subject: The objective, the job or the model that it is about.
        failures: Of jobs, that it stands for.
    """

    subject: str
    error_class: str
    severity: str
    opened: datetime
    ended: datetime | None
    acknowledged_by: str
    summary: str
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts that were unresolved together or have one cause, the first first."""

    id: str
    alerts: tuple[AlertLine, ...]


@dataclass(frozen=True, slots=True)
class MonitorPart:
    """What there is to say about one endpoint.

    Attributes:
        serving: What serves first, its causes below; empty where `serving_unknown` says why.
    """

    name: str
    endpoint: str
    owner: str
    serving: tuple[CauseLine, ...]
    serving_unknown: str
    quality: tuple[QualityLine, ...]
    drift: tuple[DriftLine, ...]
    windows: int
    decisions: tuple[DecisionLine, ...]
    objectives: tuple[ObjectiveLine, ...]
    incidents: tuple[Incident, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was seen or decided in the period."""
        return not (self.quality or self.windows or self.decisions or self.incidents)


@dataclass(frozen=True, slots=True)
class JobsPart:
    """How training went.

    Attributes:
        by_state: Jobs that ended, by how.
        by_error: Those that failed or were stopped for a budget, by error class.
    """

    by_state: tuple[tuple[str, int], ...]
    by_error: tuple[tuple[str, int], ...]

    @property
    def ended(self) -> int:
        """Jobs that ended."""
        return sum(count for _, count in self.by_state)

    @property
    def success(self) -> float | None:
        """Share that succeeded; cancelled ones left out; None when no other ended."""
        counts = dict(self.by_state)
        judged = self.ended - counts.get("CANCELLED", 0)
        return counts.get("SUCCEEDED", 0) / judged if judged else None


@dataclass(frozen=True, slots=True)
class CostLine:
    """What a model's training has cost; `share` of the whole."""

    model: str
    seconds: int
    cost: Money
    share: float


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in a period."""

    project: str
    period: Period
    made: datetime
    monitors: tuple[MonitorPart, ...]
    jobs: JobsPart
    costs: tuple[CostLine, ...]
    total_cost: Money
    incidents: tuple[Incident, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all happened in the period."""
        return not (self.jobs.ended or self.costs or self.incidents) and all(
            each.is_empty for each in self.monitors
        )

    @property
    def is_over(self) -> bool:
        """Whether the period had ended when the report was made."""
        return self.made >= self.period.end


def build_report(gathered: Gathered, period: Period) -> Report:
    """The report on a period; the same again for the same data."""
    total = _amount(gathered.costs.total)
    return Report(
        project=gathered.project,
        period=period,
        made=gathered.now,
        monitors=tuple(_monitor(each) for each in gathered.watched),
        jobs=_jobs(gathered.jobs),
        costs=tuple(
            CostLine(
                names.short(line.group),
                line.charged.seconds,
                line.cost,
                _amount(line.cost) / total if total else 0.0,
            )
            for line in gathered.costs.lines
        ),
        total_cost=gathered.costs.total,
        incidents=_incidents(gathered.alerts),
    )


def _monitor(watched: Watched) -> MonitorPart:
    told = isinstance(watched.serving, str)
    return MonitorPart(
        name=names.short(watched.monitor.name),
        endpoint=names.short(watched.monitor.endpoint),
        owner=watched.monitor.owner,
        serving=() if isinstance(watched.serving, str) else tuple(_causes(watched.serving, 0)),
        serving_unknown=str(watched.serving) if told else "",
        quality=tuple(_quality(each) for each in watched.quality),
        drift=tuple(_drift(watched.drift)),
        windows=len(watched.drift),
        decisions=tuple(_decision(*each) for each in watched.decisions),
        objectives=tuple(_objective(*each) for each in watched.budgets),
        incidents=_incidents(watched.alerts),
    )


def _causes(cause: Cause, depth: int) -> Iterable[CauseLine]:
    time = moment(cause.time) if cause.HasField("time") else None
    kind = cause.kind.replace("_", " ")
    yield CauseLine(depth, kind, names.short(cause.name), cause.summary, time)
    for each in cause.causes:
        yield from _causes(each, depth + 1)


def _quality(report: PerformanceReport) -> QualityLine:
    metrics = dict(report.metrics)
    return QualityLine(
        moment(report.window_start_time),
        moment(report.window_end_time),
        report.predictions,
        report.outcomes,
        metrics.get("auc"),
        report.auc_half_width,
        metrics.get("log_loss"),
        metrics.get("calibration_error"),
    )


def _drift(reports: Sequence[DriftReport]) -> Iterable[DriftLine]:
    for change, run in groupby(reports, key=lambda report: report.change):
        if change in (DriftReport.CHANGE_UNSPECIFIED, DriftReport.CHANGE_NONE):
            continue
        windows = list(run)
        severity = max(each.severity for each in windows)
        yield DriftLine(
            DriftReport.Change.Name(change).removeprefix("CHANGE_"),
            DriftReport.Severity.Name(severity).removeprefix("SEVERITY_"),
            moment(windows[0].window_start_time),
            moment(windows[-1].window_end_time),
            len(windows),
            tuple(dict.fromkeys(name for each in windows for name in each.drifted_features)),
            windows[-1].reason,
        )


def _decision(decision: RetrainDecision, episode: Episode | None) -> DecisionLine:
    ended = ""
    if episode is not None:
        state = Episode.State.Name(episode.state).removeprefix("STATE_")
        ended = f"{state}. {episode.message}" if episode.message else state
    return DecisionLine(
        moment(decision.event_time),
        decision.kind == RetrainDecision.KIND_TRIGGERED,
        decision.reason,
        decision.explanation,
        tuple(sorted(decision.numbers.items())),
        ended,
    )


def _objective(slo: Slo, budget: ErrorBudget | str) -> ObjectiveLine:
    name, counts = names.last(slo.name), slo.WhichOneof("sli") or ""
    days = slo.window.seconds / 86_400
    if isinstance(budget, str):
        return ObjectiveLine(name, counts, slo.target, days, unknown=budget)
    return ObjectiveLine(
        name,
        counts,
        slo.target,
        days,
        budget.good_events,
        budget.total_events,
        budget.sli,
        budget.remaining,
        moment(budget.time) if budget.HasField("time") else None,
    )


def _incidents(alerts: Sequence[Alert]) -> tuple[Incident, ...]:
    """Oldest first."""
    found: dict[str, list[AlertLine]] = {}
    for alert in reversed(alerts):
        found.setdefault(alert.incident, []).append(_alert(alert))
    return tuple(Incident(id_, tuple(lines)) for id_, lines in found.items())


def _alert(alert: Alert) -> AlertLine:
    resolved = alert.state == Alert.STATE_RESOLVED
    acknowledged = [step.actor for step in alert.steps if step.action == "ACKNOWLEDGED"]
    return AlertLine(
        names.last(alert.resource),
        alert.error_class,
        ErrorBudget.Severity.Name(alert.severity).removeprefix("SEVERITY_"),
        moment(alert.create_time),
        moment(alert.steps[-1].time) if resolved else None,
        acknowledged[-1] if acknowledged else "",
        alert.summary,
        alert.trouble.failures,
    )


def _jobs(jobs: Sequence[TrainingJob]) -> JobsPart:
    states = Counter(TrainingJob.State.Name(job.state).removeprefix("STATE_") for job in jobs)
    errors = Counter(
        JobError.ErrorClass.Name(job.error.error_class).removeprefix("ERROR_CLASS_")
        for job in jobs
        if job.HasField("error")
    )
    return JobsPart(_most_first(states), _most_first(errors))


def _most_first(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _amount(money: Money) -> float:
    return money.units + money.nanos / 1e9
