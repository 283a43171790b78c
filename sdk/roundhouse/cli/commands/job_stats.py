"""`roundhouse jobs stats`: how training jobs went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, print_json, print_table
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.job_statistics import (
    JobFacts,
    Share,
    Spent,
    Statistics,
    Validation,
    newest_before,
    statistics_of,
)
from roundhouse.client import Client
from roundhouse.monitor.v1.monitor_pb2 import DriftReport
from roundhouse.monitor.v1.monitor_service_pb2 import ListDriftReportsRequest, ListMonitorsRequest
from roundhouse.trainer.v1.job_pb2 import TrainingJob, Trial
from roundhouse.trainer.v1.job_service_pb2 import (
    ListTrainingJobsRequest,
    ListTrialsRequest,
    ReadMetricsRequest,
)

_ENDED: Final = "(state = SUCCEEDED OR state = FAILED OR state = BUDGET_EXCEEDED)"
_GPU: Final = "gpu_utilization"
_UNKNOWN: Final = "unknown"


def stats(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Jobs of this model alone.")] = "",
    owner: Annotated[str, typer.Option(help="Jobs of this owner alone.")] = "",
    days: Annotated[
        float, typer.Option(min=0.01, max=3660, help="Jobs that ended in so many days.")
    ] = 30.0,
    limit: Annotated[
        int, typer.Option(min=1, max=2000, help="Most of them, the newest; each is looked into.")
    ] = 200,
    as_json: Json = False,
) -> None:
    """Tell success, duration, GPU use, quality against the baseline, drift and cost of jobs.

    Of jobs that are over; those that a person cancelled are left out.
    """
    session = session_of(context)
    parent = names.parent(session.project)
    wanted = names.full(session.project, "models", model) if model else ""
    since = datetime.now(UTC) - timedelta(days=days)
    request = ListTrainingJobsRequest(
        parent=parent,
        filter=f'{_ENDED} AND update_time >= "{since.isoformat()}"',
        order_by="update_time desc",
    )
    with session.client() as client:
        jobs: list[TrainingJob] = []
        for job in every(client.jobs.ListTrainingJobs, request, "training_jobs"):
            if (not wanted or job.spec.model == wanted) and (not owner or job.owner == owner):
                jobs.append(job)
            if len(jobs) == limit:
                break
        reports = _drift_reports(client, parent) if jobs else []
        found = statistics_of([_facts(client, job, reports) for job in jobs])
    if as_json:
        print_json(_as_json(found))
        return
    of = f" of {model or owner}" if model or owner else ""
    print_table(
        ("indicator", "value", "over"),
        _rows(found),
        title=f"Training jobs{of} that ended in the last {days:g} days: {found.jobs}",
    )
    if len(jobs) == limit:
        OUT.print(f"The newest {limit} alone; --limit asks for more.", highlight=False)


def _facts(client: Client, job: TrainingJob, reports: Sequence[DriftReport]) -> JobFacts:
    points = every(
        client.jobs.ReadMetrics, ReadMetricsRequest(parent=job.name, series=_GPU), "points"
    )
    return JobFacts(
        job,
        _best(client, job),
        [point.value for point in points if point.series == _GPU],
        newest_before(reports, job),
    )


def _best(client: Client, job: TrainingJob) -> Trial | None:
    if not job.best_trial:
        return None
    trials: Sequence[Trial] = client.jobs.ListTrials(ListTrialsRequest(parent=job.name)).trials
    return next((trial for trial in trials if trial.name == job.best_trial), None)


def _drift_reports(client: Client, parent: str) -> list[DriftReport]:
    monitors = every(client.monitors.ListMonitors, ListMonitorsRequest(parent=parent), "monitors")
    return [
        report
        for monitor in monitors
        for report in every(
            client.monitors.ListDriftReports,
            ListDriftReportsRequest(parent=monitor.name),
            "drift_reports",
        )
    ]


def _rows(found: Statistics) -> list[tuple[str, str, str]]:
    ended = f"{found.jobs} jobs"
    succeeded = f"{found.final.count} that succeeded"
    return [
        ("succeeded at the first attempt", _share(found.first_attempt), ended),
        ("succeeded in the end", _share(found.final), ended),
        ("median duration", _seconds(found.median_s), succeeded),
        ("95 % took at most", _seconds(found.p95_s), succeeded),
        (
            "GPU utilization",
            "none" if found.gpu is None else f"{found.gpu:.1%}",
            f"{found.gpu_jobs} jobs that measured it",
        ),
        *(_quality(each) for each in found.validation),
        (
            "submitted while their model drifted",
            _drifted(found),
            f"{found.jobs - found.drift.get('', 0)} jobs of models with a drift report",
        ),
        *(_cost(each) for each in found.spent),
    ]


def _share(share: Share) -> str:
    return _UNKNOWN if share.value is None else f"{share.value:.1%} ({share.count})"


def _seconds(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else str(timedelta(seconds=round(seconds)))


def _quality(each: Validation) -> tuple[str, str, str]:
    gain = "gain over the trivial baseline unknown"
    if each.gain is not None:
        surely = each.surely_better
        gain = f"{each.gain:+.4f} over the trivial baseline"
        gain += f", surely better {surely.count} of {surely.of}"
    return f"validation {each.metric}", f"{each.value:.4f}, {gain}", f"{each.jobs} winners, median"


def _drifted(found: Statistics) -> str:
    kinds = [f"{kind} {count}" for kind, count in sorted(found.drift.items()) if kind]
    return ", ".join(kinds) or _UNKNOWN


def _cost(each: Spent) -> tuple[str, str, str]:
    def amount(micros: int) -> str:
        return f"{micros / 1_000_000:.6f} {each.currency}"

    value = f"{amount(each.median_micros)} median, {amount(each.total_micros)} in all"
    return "cost of a job", value, f"{each.jobs} jobs that were charged"


def _as_json(found: Statistics) -> dict[str, object]:
    shares = {
        name: {**asdict(share), "value": share.value}
        for name, share in (("first_attempt", found.first_attempt), ("final", found.final))
    }
    drift = {kind or "UNKNOWN": count for kind, count in found.drift.items()}
    return {**asdict(found), **shares, "drift": drift}
