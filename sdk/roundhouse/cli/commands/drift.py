"""`roundhouse drift`: what the monitor has seen."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import as_dict, day, print_json, print_table, state_name
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.monitor.v1.monitor_pb2 import DriftReport, PerformanceReport, RetrainDecision
from roundhouse.monitor.v1.monitor_service_pb2 import (
    GetDriftReportRequest,
    ListDriftReportsRequest,
    ListPerformanceReportsRequest,
)
from roundhouse.monitor.v1.retrain_service_pb2 import ListRetrainDecisionsRequest

_MOST_FEATURES = 4


def drift(
    context: typer.Context,
    monitor: Annotated[str, typer.Argument(help="Monitor's id or resource name.")],
    report: Annotated[str, typer.Option(help="Id of one report, to see each feature.")] = "",
    as_json: Json = False,
) -> None:
    """Show drift and quality by window, and what was decided about retraining."""
    session = session_of(context)
    name = names.full(session.project, "monitors", monitor)
    with session.client() as client:
        if report:
            one = client.monitors.GetDriftReport(
                GetDriftReportRequest(name=f"{name}/driftReports/{report}")
            )
            print_json(as_dict(one)) if as_json else _print_points(one)
            return
        drifts = list(
            every(
                client.monitors.ListDriftReports,
                ListDriftReportsRequest(parent=name),
                "drift_reports",
            )
        )
        qualities = list(
            every(
                client.monitors.ListPerformanceReports,
                ListPerformanceReportsRequest(parent=name),
                "performance_reports",
            )
        )
        decisions = list(
            every(
                client.retraining.ListRetrainDecisions,
                ListRetrainDecisionsRequest(parent=name),
                "retrain_decisions",
            )
        )
    if as_json:
        print_json(
            {
                "drift_reports": [as_dict(each) for each in drifts],
                "performance_reports": [as_dict(each) for each in qualities],
                "retrain_decisions": [as_dict(each) for each in decisions],
            }
        )
        return
    _print_windows(monitor, drifts)
    _print_quality(qualities)
    _print_decisions(decisions)


def _print_windows(monitor: str, reports: list[DriftReport]) -> None:
    print_table(
        ("report", "window", "rows", "drifted", "strongest", "baseline"),
        [
            (
                names.last(report.name),
                f"{day(report.window_start_time)} to {day(report.window_end_time)}",
                report.rows,
                ", ".join(report.drifted_features) or "-",
                ", ".join(
                    f"{point.feature} {point.effect_size:.2f}"
                    for point in sorted(report.points, key=lambda each: -each.effect_size)[
                        :_MOST_FEATURES
                    ]
                ),
                names.short(report.baseline_version),
            )
            for report in reports
        ],
        title=f"Drift at {monitor}",
    )


def _print_quality(reports: list[PerformanceReport]) -> None:
    metrics = sorted({metric for report in reports for metric in report.metrics})
    print_table(
        ("window", "version", "outcomes", *metrics, "± AUC"),
        [
            (
                f"{day(report.window_start_time)} to {day(report.window_end_time)}",
                names.short(report.version) or "all",
                report.outcomes,
                *(report.metrics.get(metric, "") for metric in metrics),
                report.auc_half_width,
            )
            for report in reports
        ],
        title="Quality on known outcomes",
    )


def _print_decisions(decisions: list[RetrainDecision]) -> None:
    print_table(
        ("event time", "decision", "reason", "why"),
        [
            (
                day(decision.event_time),
                state_name(RetrainDecision.Kind.Name(decision.kind)).lower(),
                decision.reason,
                decision.explanation,
            )
            for decision in decisions
        ],
        title="Retraining",
    )


def _print_points(report: DriftReport) -> None:
    print_table(
        ("feature", "effect", "floor", "statistic", "p", "q", "rows", "this window", "drifted"),
        [
            (
                point.feature,
                point.effect_size,
                point.threshold,
                point.statistic,
                point.p_value,
                point.q_value,
                point.window_rows,
                point.significant,
                point.drifted,
            )
            for point in sorted(report.points, key=lambda each: -each.effect_size)
        ],
        title=(
            f"{day(report.window_start_time)} to {day(report.window_end_time)} against "
            f"{names.short(report.baseline_version)}"
        ),
    )
