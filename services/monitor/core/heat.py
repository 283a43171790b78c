"""What a drift report comes to, without its histograms: much less to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.monitor.core.resources import ChangeKind, DriftPoint, DriftReport, Severity


@dataclass(frozen=True, slots=True)
class HeatCell:
    """The measurement of a feature that came nearest to an alarm, or went furthest beyond it.

    Attributes:
        excess: Its effect in units of what would count.
    """

    feature: str
    excess: float
    significant: bool
    drifted: bool
    skewed: bool


@dataclass(frozen=True, slots=True)
class DriftSummary:
    """One window's verdict; each field is the report's."""

    name: str
    create_time: datetime
    window_start: datetime
    window_end: datetime
    baseline_version: str
    rows: int
    change: ChangeKind
    severity: Severity
    reason: str
    faults: tuple[tuple[str, str, str], ...]
    cells: tuple[HeatCell, ...]


def summary_of(report: DriftReport) -> DriftSummary:
    """The report without its histograms; `faults` as kind, feature and reason."""
    return DriftSummary(
        name=report.meta.name,
        create_time=report.meta.create_time,
        window_start=report.window_start,
        window_end=report.window_end,
        baseline_version=report.baseline_version,
        rows=report.rows,
        change=report.change,
        severity=report.severity,
        reason=report.reason,
        faults=tuple((each.kind.value, each.feature, each.reason) for each in report.faults),
        cells=tuple(_cell(point) for point in _strongest(report)),
    )


def _strongest(report: DriftReport) -> list[DriftPoint]:
    found: dict[str, DriftPoint] = {}
    for point in report.points:
        known = found.get(point.feature)
        if known is None or (point.is_alarm, _excess(point)) > (known.is_alarm, _excess(known)):
            found[point.feature] = point
    return list(found.values())


def _excess(point: DriftPoint) -> float:
    return point.effect_size / point.threshold if point.threshold > 0 else 0.0


def _cell(point: DriftPoint) -> HeatCell:
    return HeatCell(point.feature, _excess(point), point.significant, point.drifted, point.skewed)
