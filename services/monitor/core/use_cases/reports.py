"""Reports on windows, each recorded once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from services.monitor.core.detecting import Findings
from services.monitor.core.evidence import Evidence, Judgement
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import DriftReport, PerformanceReport, SliceQuality
from services.monitor.core.use_cases.identities import new_meta
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.windows import Window

_VERSION_DIGITS: Final = 12


def record_drift_report(
    tx: MonitorTx,
    monitor: str,
    window: Window,
    *,
    baseline_version: str,
    rows: int,
    found: Findings,
) -> DriftReport:
    """The window's report; one that was recorded before stays as it is.

    Raises:
        MonitorNotFound: It was deleted meanwhile.
    """
    the_monitor(tx, monitor)
    name = f"{monitor}/driftReports/{window.key}"
    known = tx.drift_reports.get(name)
    if known is not None:
        return known
    report = DriftReport(
        meta=new_meta(tx, name),
        baseline_version=baseline_version,
        window_start=window.start,
        window_end=window.end,
        rows=rows,
        points=found.points,
        change=found.change.kind,
        severity=found.change.severity,
        reason=found.change.reason,
        faults=found.faults,
        concept=found.concept,
        estimate=found.estimate,
        slices=found.slices,
        attributions=found.attributions,
    )
    tx.drift_reports.add(report)
    tx.tell(
        "drift.reported",
        name,
        {
            "window_start_time": window.start.isoformat(),
            "window_end_time": window.end.isoformat(),
            "baseline_version": baseline_version,
            "rows": rows,
            "drifted_features": list(report.drifted_features),
            "change": report.change.value,
            "severity": report.severity.value,
        },
    )
    return report


def record_performance_report(
    tx: MonitorTx,
    monitor: str,
    window: Window,
    *,
    version: str,
    predictions: int,
    outcomes: int,
    metrics: Mapping[str, float],
    half_widths: Mapping[str, float],
    slices: tuple[SliceQuality, ...] = (),
) -> PerformanceReport:
    """The report on a version, or with an empty one on all; one recorded before stays.

    Raises:
        MonitorNotFound: It was deleted meanwhile.
    """
    the_monitor(tx, monitor)
    name = _performance_report_name(monitor, window, version)
    known = tx.performance_reports.get(name)
    if known is not None:
        return known
    report = PerformanceReport(
        meta=new_meta(tx, name),
        version=version,
        window_start=window.start,
        window_end=window.end,
        predictions=predictions,
        outcomes=outcomes,
        metrics=dict(metrics),
        auc_half_width=half_widths.get("auc", 0.0),
        log_loss_half_width=half_widths.get("log_loss", 0.0),
        slices=slices,
    )
    tx.performance_reports.add(report)
    tx.tell(
        "performance.reported",
        name,
        {
            "window_start_time": window.start.isoformat(),
            "window_end_time": window.end.isoformat(),
            "version": version,
            "predictions": predictions,
            "outcomes": outcomes,
            "metrics": dict(metrics),
        },
    )
    return report


def record_judgement(
    tx: MonitorTx, monitor: str, window: Window, champion: str, outcomes: int, evidence: Evidence
) -> None:
    """Keep what policies are held against, to be decided on again.

    Args:
        tx: The transaction.
        monitor: By resource name.
        window: Which was judged, for the first time.
        champion: Version that served, by resource name.
        outcomes: Of all versions in the window.
        evidence: What is known.
    """
    tx.judgements.add(
        Judgement(
            meta=new_meta(tx, f"{monitor}/judgements/{window.key}"),
            window_start=window.start,
            champion=champion,
            outcomes=outcomes,
            evidence=evidence,
        )
    )


def _performance_report_name(monitor: str, window: Window, version: str) -> str:
    if not version:
        return f"{monitor}/performanceReports/{window.key}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:_VERSION_DIGITS]
    return f"{monitor}/performanceReports/{window.key}-{digest}"
