"""`roundhouse drift`: what the monitor has seen."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import as_dict, day, print_json, print_table, state_name
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.drift import print_report, print_windows
from roundhouse.monitor.v1.monitor_pb2 import PerformanceReport, RetrainDecision
from roundhouse.monitor.v1.monitor_service_pb2 import (
    GetDriftReportRequest,
    ListDriftReportsRequest,
    ListPerformanceReportsRequest,
)
from roundhouse.monitor.v1.retrain_service_pb2 import ListRetrainDecisionsRequest


def drift(
    context: typer.Context,
    monitor: Annotated[str, typer.Argument(help="Monitor's id or resource name.")],
    report: Annotated[
        str,
        typer.Option(
            help="Id of one report: what it found at each feature, and why that is an alarm or not."
        ),
    ] = "",
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
            print_json(as_dict(one)) if as_json else print_report(one)
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
    print_windows(monitor, drifts)
    _print_quality(qualities)
    _print_decisions(decisions)


def _print_quality(reports: list[PerformanceReport]) -> None:
    metrics = sorted({metric for report in reports for metric in report.metrics})
    print_table(
        ("report", "window", "version", "outcomes", *metrics, "± AUC"),
        [
            (
                names.last(report.name),
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
