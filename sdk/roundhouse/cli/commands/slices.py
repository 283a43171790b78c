"""`roundhouse slices`: for whom a version predicts worse."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import as_dict, day, print_json, print_table
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.monitor.v1.monitor_pb2 import PerformanceReport
from roundhouse.monitor.v1.monitor_service_pb2 import (
    GetPerformanceReportRequest,
    ListPerformanceReportsRequest,
)


class By(StrEnum):
    """What slices are compared by."""

    AUC = "auc"
    LOG_LOSS = "log_loss"


def slices(
    context: typer.Context,
    monitor: Annotated[str, typer.Argument(help="Monitor's id or resource name.")],
    report: Annotated[
        str,
        typer.Option(
            help="Id of a performance report, as `roundhouse drift` lists them; "
            "unset: the newest window, all versions together."
        ),
    ] = "",
    by: Annotated[By, typer.Option(help="Metric that slices are compared by.")] = By.AUC,
    as_json: Json = False,
) -> None:
    """Show how well each slice was predicted in one window, the most surely worse first.

    A slice is the rows that share a value of a feature that the monitor names in `slices`. The
    intervals hold for all slices of the window together; no alarm comes of this.
    """
    session = session_of(context)
    name = names.full(session.project, "monitors", monitor)
    with session.client() as client:
        found = client.monitors.GetPerformanceReport(
            GetPerformanceReportRequest(
                name=f"{name}/performanceReports/{report}" if report else _newest(client, name)
            )
        )
    print_json(as_dict(found)) if as_json else _print_slices(found, by)


def _newest(client: Client, monitor: str) -> str:
    """The newest window's report on all versions, by resource name."""
    request = ListPerformanceReportsRequest(
        parent=monitor, filter='version = ""', order_by="window_start_time desc", page_size=1
    )
    found = client.monitors.ListPerformanceReports(request).performance_reports
    if not found:
        raise BadOutcome(f"No window of {names.short(monitor)} has been judged yet.")
    return found[0].name


def _print_slices(report: PerformanceReport, by: By) -> None:
    metric = by.value.replace("_", " ")
    whole = f"{report.metrics[by]:.4f}" if by in report.metrics else "unknown"
    window = f"{day(report.window_start_time)} to {day(report.window_end_time)}"
    print_table(
        (
            "slice",
            "verdict",
            metric,
            "worse than all by",
            "calibration bias",
            "predictions",
            "outcomes",
        ),
        [_row(each, by) for each in sorted(report.slices, key=lambda each: _order(each, by))],
        title=f"{window}, {names.short(report.version) or 'all versions'}: "
        f"{metric} of all rows {whole}, {report.outcomes:,} outcomes",
    )


def _order(each: PerformanceReport.Slice, by: By) -> tuple[bool, float]:
    standing = each.standings.get(by)
    if standing is None:
        return True, 0.0
    return False, standing.half_width - standing.worse_by


def _row(each: PerformanceReport.Slice, by: By) -> tuple[object, ...]:
    standing = each.standings.get(by)
    verdict, gap = "too few", ""
    if standing is not None:
        verdict = "worse" if standing.worse else ""
        gap = f"{standing.worse_by:.4f} ± {standing.half_width:.4f}"
    return (
        f"{each.feature} = {each.value}",
        verdict,
        each.metrics.get(by, ""),
        gap,
        each.metrics.get("calibration_bias", ""),
        each.predictions,
        each.outcomes,
    )
