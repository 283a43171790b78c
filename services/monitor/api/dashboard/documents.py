"""The monitor's resources as the page gets them: JSON with times in ISO 8601."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from services.common.money import MICROS
from services.monitor.core.attention import Concern
from services.monitor.core.explanation import Cause
from services.monitor.core.heat import DriftSummary, HeatCell
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.ports import Cost, Json
from services.monitor.core.resources import (
    AttributionDrift,
    DriftPoint,
    HistogramBin,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    SliceDrift,
)
from services.monitor.core.slos.budgets import SloReading
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.slos.restraints import Restraint

Document: TypeAlias = Mapping[str, Json]


def of_monitor(monitor: Monitor) -> Document:
    """What is watched, and who is told."""
    return {
        "name": monitor.meta.name,
        "endpoint": monitor.endpoint,
        "owner": monitor.owner,
        "window_s": monitor.window.total_seconds(),
    }


def of_cause(cause: Cause) -> Document:
    """One cause with those below it."""
    return {
        "kind": cause.kind.value,
        "name": cause.name,
        "summary": cause.summary,
        "time": cause.time.isoformat() if cause.time else None,
        "causes": [of_cause(below) for below in cause.causes],
    }


def of_episode(episode: Episode) -> Document:
    """How far it is, and what it has made so far."""
    return {
        "name": episode.meta.name,
        "state": episode.state.value,
        "is_over": episode.is_over,
        "create_time": episode.meta.create_time.isoformat(),
        "update_time": episode.meta.update_time.isoformat(),
        "event_time": episode.event_time.isoformat(),
        "champion": episode.champion,
        "candidate": episode.candidate,
        "approval": episode.approval,
        "rollout": episode.rollout,
        "message": episode.message,
    }


def of_decision(decision: RetrainDecision) -> Document:
    """What was decided, and by which numbers."""
    return {
        "name": decision.meta.name,
        "event_time": decision.event_time.isoformat(),
        "kind": decision.kind.value,
        "reason": decision.reason,
        "explanation": decision.explanation,
    }


def of_performance(report: PerformanceReport) -> Document:
    """One window's scores."""
    return {
        "version": report.version,
        "window_start": report.window_start.isoformat(),
        "window_end": report.window_end.isoformat(),
        "predictions": report.predictions,
        "outcomes": report.outcomes,
        "metrics": dict(report.metrics),
        "half_widths": {"auc": report.auc_half_width, "log_loss": report.log_loss_half_width},
    }


def of_reading(reading: SloReading) -> Document:
    """How an objective stands."""
    budget = reading.budget
    return {
        **_of_slo(reading.slo),
        "time": reading.time.isoformat() if reading.time else None,
        "good": budget.counts.good,
        "total": budget.counts.total,
        "sli": float(budget.sli),
        "remaining": float(budget.remaining),
        "rules": [
            {
                "severity": each.rule.severity.value,
                "long_s": each.rule.long.total_seconds(),
                "short_s": each.rule.short.total_seconds(),
                "factor": float(each.rule.factor),
                "long_rate": float(each.long_rate),
                "short_rate": float(each.short_rate),
                "firing": each.firing,
            }
            for each in reading.burning
        ],
    }


def of_restraint(restraint: Restraint) -> Document:
    """What a budget policy orders, and why."""
    return {
        "action": restraint.rule.action.value,
        "since": restraint.since.isoformat(),
        "reason": restraint.reason,
    }


def of_unread(slo: Slo, why: str) -> Document:
    """An objective whose events can't be told at present."""
    return {**_of_slo(slo), "unknown": why}


def _of_slo(slo: Slo) -> Document:
    return {
        "name": slo.meta.name,
        "counts": slo.sli.kind.value,
        "target": slo.target,
        "window_s": slo.window.total_seconds(),
    }


def of_cost(cost: Cost) -> Document:
    """Some charges, summed."""
    return {
        "group": cost.group,
        "amount": cost.micros / MICROS,
        "currency": cost.currency,
        "seconds": cost.seconds,
    }


def of_concern(concern: Concern) -> Document:
    """One thing to look at."""
    return {
        "urgency": concern.urgency.name,
        "kind": concern.kind,
        "subject": concern.subject,
        "message": concern.message,
        "time": concern.time.isoformat(),
    }


def of_drift(summary: DriftSummary) -> Document:
    """One window's verdict."""
    return {
        "name": summary.name,
        "window_start": summary.window_start.isoformat(),
        "window_end": summary.window_end.isoformat(),
        "baseline_version": summary.baseline_version,
        "rows": summary.rows,
        "change": summary.change.value,
        "severity": summary.severity.value,
        "reason": summary.reason,
        "faults": [
            {"kind": kind, "feature": feature, "reason": reason}
            for kind, feature, reason in summary.faults
        ],
    }


def of_point(point: DriftPoint) -> Document:
    """One measurement with both histograms."""
    return {
        "algorithm": point.algorithm,
        "effect_size": point.effect_size,
        "threshold": point.threshold,
        "q_value": point.q_value,
        "baseline_rows": point.baseline_rows,
        "window_rows": point.window_rows,
        "drifted": point.drifted,
        "reason": point.reason,
        "bins": _of_bins(point.bins),
    }


def of_slice_drift(drift: SliceDrift) -> Document:
    """One window slice by slice; each point with both histograms."""
    return {
        "measured": drift.measured,
        "standing_out": drift.standing_out,
        "lasting": drift.lasting,
        "unsliced": list(drift.unsliced),
        "points": [
            {
                "slice": f"{point.slice_feature} = {point.slice_value}",
                "feature": point.feature,
                "effect_size": point.effect_size,
                "threshold": point.threshold,
                "q_value": point.q_value,
                "baseline_rows": point.baseline_rows,
                "window_rows": point.window_rows,
                "stands_out": point.stands_out,
                "hits": point.hits,
                "lasts": point.lasts,
                "bins": _of_bins(point.bins),
            }
            for point in drift.points
        ],
    }


def of_attributions(drift: AttributionDrift) -> Document:
    """What the scores of one window follow."""
    return {
        "baseline_rows": drift.baseline_rows,
        "window_rows": drift.window_rows,
        "measured": drift.measured,
        "moved": drift.moved,
        "lasting": drift.lasting,
        "points": [
            {
                "feature": point.feature,
                "baseline": point.baseline,
                "window": point.window,
                "half_width": point.half_width,
                "moved": point.moved,
                "hits": point.hits,
                "lasts": point.lasts,
            }
            for point in drift.points
        ],
    }


def _of_bins(bins: Sequence[HistogramBin]) -> list[Document]:
    return [
        {"label": each.label, "baseline": each.baseline_count, "window": each.window_count}
        for each in bins
    ]


def heat_map(windows: Sequence[DriftSummary], features: int) -> Document:
    """How far each feature went in each window, in units of what would count.

    Args:
        windows: Newest first.
        features: Most rows of the map: those that went furthest.

    Returns:
        `windows`, and in `rows` one `cells` of the same length per feature; a cell is null where
        the feature was not measured.
    """
    cells = [{cell.feature: cell for cell in window.cells} for window in windows]
    reach: dict[str, float] = {}
    for by_feature in cells:
        for feature, cell in by_feature.items():
            reach[feature] = max(reach.get(feature, 0.0), cell.excess)
    shown = sorted(reach, key=lambda feature: (-reach[feature], feature))[:features]
    return {
        "windows": [of_drift(window) for window in windows],
        "rows": [
            {"feature": feature, "cells": [_of_cell(each.get(feature)) for each in cells]}
            for feature in shown
        ],
        "features_left_out": len(reach) - len(shown),
    }


def _of_cell(cell: HeatCell | None) -> Document | None:
    if cell is None:
        return None
    return {
        "excess": cell.excess,
        "significant": cell.significant,
        "drifted": cell.drifted,
        "skewed": cell.skewed,
    }
