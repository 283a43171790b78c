"""How training jobs went: the indicators that a team watches, from what the services keep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

from roundhouse.cli.report.gathering import moment
from roundhouse.monitor.v1.monitor_pb2 import DriftReport
from roundhouse.trainer.v1.job_pb2 import Attempt, TrainingJob, Trial

_FAILED = frozenset({Attempt.STATE_FAILED, Attempt.STATE_LOST})
"""An attempt that was stopped, as for a preemption or a budget, is no failure."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of one job that is over.

    Attributes:
        best: The trial that was registered; None if there is none.
        gpu: Each point of `gpu_utilization`, 0 to 1; empty where nothing measured it.
        drift: Newest report on a version of its model from before it was submitted.
    """

    job: TrainingJob
    best: Trial | None
    gpu: Sequence[float]
    drift: DriftReport | None


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many; without any, nothing is known."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Validation:
    """The metric that jobs chose their winners by, beside the trivial baseline.

    Attributes:
        jobs: That were judged by this metric.
        value: Median over the winners.
        gain: Median of what they have over the baseline; None where no gain is known by it.
        surely_better: Winners whose gain's 95 % interval lies above 0, of those with one.
    """

    metric: str
    jobs: int
    value: float
    gain: float | None
    surely_better: Share


@dataclass(frozen=True, slots=True)
class Spent:
    """What jobs cost in one currency, in millionths."""

    currency: str
    jobs: int
    median_micros: int
    total_micros: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """How jobs went.

    Attributes:
        first_attempt: That succeeded without a failed attempt, of those that are over.
        final: That succeeded in the end.
        median_s: From the first attempt's start to the last one's end, of those that succeeded;
            None without any.
        p95_s: So long at most took 95 of 100 of them (nearest rank).
        gpu: Mean utilization over jobs that measured it; None if none did.
        drift: How many were submitted while drift of this kind was the newest news of their
            model's versions; `NONE` of no drift, `` of no report.
    """

    jobs: int
    first_attempt: Share
    final: Share
    median_s: float | None
    p95_s: float | None
    gpu: float | None
    gpu_jobs: int
    validation: Sequence[Validation]
    drift: Mapping[str, int]
    spent: Sequence[Spent]


def statistics_of(facts: Sequence[JobFacts]) -> Statistics:
    """The statistics of jobs that are over, those that a person cancelled left out."""
    succeeded = [each for each in facts if each.job.state == TrainingJob.STATE_SUCCEEDED]
    first = [each for each in succeeded if not _failures(each.job)]
    durations = sorted(_duration_s(each.job) for each in succeeded if each.job.attempts)
    used = [fmean(each.gpu) for each in facts if each.gpu]
    return Statistics(
        jobs=len(facts),
        first_attempt=Share(len(first), len(facts)),
        final=Share(len(succeeded), len(facts)),
        median_s=median(durations) if durations else None,
        p95_s=durations[math.ceil(0.95 * len(durations)) - 1] if durations else None,
        gpu=fmean(used) if used else None,
        gpu_jobs=len(used),
        validation=_validations(succeeded),
        drift=Counter(_change(each.drift) for each in facts),
        spent=_spent(facts),
    )


def newest_before(reports: Iterable[DriftReport], job: TrainingJob) -> DriftReport | None:
    """The newest report on a version of the job's model that was made before it was submitted."""
    submitted = moment(job.create_time)
    known = [
        report
        for report in reports
        if report.baseline_version.startswith(f"{job.spec.model}/versions/")
        and moment(report.create_time) <= submitted
    ]
    return max(known, key=_made, default=None)


def _made(report: DriftReport) -> datetime:
    return moment(report.create_time)


def _failures(job: TrainingJob) -> int:
    return sum(attempt.state in _FAILED for attempt in job.attempts)


def _duration_s(job: TrainingJob) -> float:
    ends = moment(job.attempts[-1].end_time)
    return (ends - moment(job.attempts[0].start_time)).total_seconds()


def _change(report: DriftReport | None) -> str:
    if report is None:
        return ""
    return DriftReport.Change.Name(report.change).removeprefix("CHANGE_")


def _validations(succeeded: Sequence[JobFacts]) -> Sequence[Validation]:
    by_metric: dict[str, list[Trial]] = {}
    for each in succeeded:
        if each.best is not None:
            metric = each.job.spec.metric or "auc"
            if metric in each.best.metrics:
                by_metric.setdefault(metric, []).append(each.best)
    return [_validation(metric, trials) for metric, trials in sorted(by_metric.items())]


def _validation(metric: str, trials: Sequence[Trial]) -> Validation:
    gains = [trial.gains[metric] for trial in trials if metric in trial.gains]
    return Validation(
        metric,
        len(trials),
        median(trial.metrics[metric] for trial in trials),
        median(gain.value for gain in gains) if gains else None,
        Share(sum(gain.low > 0 for gain in gains), len(gains)),
    )


def _spent(facts: Sequence[JobFacts]) -> Sequence[Spent]:
    by_currency: dict[str, list[int]] = {}
    for each in facts:
        cost = each.job.cost
        if cost.currency_code:
            micros = cost.units * 1_000_000 + cost.nanos // 1000
            by_currency.setdefault(cost.currency_code, []).append(micros)
    return [
        Spent(currency, len(micros), round(median(micros)), sum(micros))
        for currency, micros in sorted(by_currency.items())
    ]
