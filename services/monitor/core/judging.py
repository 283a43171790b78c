"""Judges a window once it is complete: reports, decisions, and the episode they start.

All of it is one transaction, so a window is judged exactly once, however often a process
dies on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np

from services.common.names import parent_of
from services.monitor.core.detecting import findings, sight_of
from services.monitor.core.evidence import (
    Evidence,
    Happened,
    LowBudget,
    MeasuredQuality,
    SlowAnswers,
)
from services.monitor.core.ports import MonitorTx
from services.monitor.core.quality import quality
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainEvent,
)
from services.monitor.core.slices import slice_qualities
from services.monitor.core.slos.objectives import BudgetAction
from services.monitor.core.stream.ports import CompleteWindow
from services.monitor.core.use_cases.alerts import burning
from services.monitor.core.use_cases.reports import (
    record_drift_report,
    record_judgement,
    record_performance_report,
)
from services.monitor.core.use_cases.restraints import in_force
from services.monitor.core.use_cases.retraining import consider_retraining

EVERY_VERSION: Final = ""
"""The version of the report on all versions together."""


def judge_window(tx: MonitorTx, complete: CompleteWindow) -> None:
    """Store the window's reports and what was decided on them; nothing if that was done."""
    monitor = tx.monitors.get(complete.monitor)
    if monitor is None:
        return
    done = judged_until(tx, complete.monitor)
    if done is not None and done >= complete.window.end:
        return
    drift = _report_drift(tx, monitor, complete)
    outcomes = _report_performance(tx, complete)
    evidence = _evidence(tx, monitor, complete, drift)
    record_judgement(tx, complete.monitor, complete.window, complete.serving, outcomes, evidence)
    for policy in tx.policies.under(complete.monitor):
        consider_retraining(tx, policy, evidence, complete.serving)


def judged_until(tx: MonitorTx, monitor: str) -> datetime | None:
    """End of the newest judged window; None before the first."""
    newest = tx.newest_performance(monitor, EVERY_VERSION, 1)
    return newest[0].window_end if newest else None


def _report_drift(tx: MonitorTx, monitor: Monitor, complete: CompleteWindow) -> DriftReport | None:
    version = complete.serving
    tally, test = complete.tallies[version], monitor.drift_test
    sight = sight_of(tally, monitor.window)
    if sight is None or tally.rows < test.min_rows:
        return None
    looked_back = max(test.persistence_windows - 1, 1)
    known = tx.newest_drift(complete.monitor, version, looked_back + 1)
    earlier = [
        report
        for report in known[:looked_back]
        if report.window_start >= complete.window.start - monitor.window * looked_back
    ]
    return record_drift_report(
        tx,
        complete.monitor,
        complete.window,
        baseline_version=version,
        rows=tally.rows,
        found=findings(sight, earlier, test, from_first=len(earlier) == len(known)),
    )


def _report_performance(tx: MonitorTx, complete: CompleteWindow) -> int:
    """Record the reports; gives the outcomes of all versions."""
    versions = sorted(complete.tallies)
    tallies = [complete.tallies[version] for version in versions]
    found = {EVERY_VERSION: tallies} | {
        version: [tally] for version, tally in zip(versions, tallies, strict=True)
    }
    outcomes = 0
    for version, of_version in found.items():
        measured = quality(
            np.concatenate([tally.labels for tally in of_version]),
            np.concatenate([tally.scores for tally in of_version]),
        )
        outcomes = max(outcomes, measured.outcomes)
        record_performance_report(
            tx,
            complete.monitor,
            complete.window,
            version=version,
            predictions=measured.predictions,
            outcomes=measured.outcomes,
            metrics=measured.metrics,
            half_widths=measured.half_widths,
            slices=slice_qualities(of_version),
        )
    return outcomes


def _evidence(
    tx: MonitorTx, monitor: Monitor, complete: CompleteWindow, drift: DriftReport | None
) -> Evidence:
    baseline = complete.baselines[complete.serving]
    pooled_windows = monitor.drift_test.persistence_windows
    recent = tx.newest_performance(complete.monitor, complete.serving, pooled_windows)
    measured = {}
    if len(recent) == pooled_windows:
        for metric, test_value in baseline.test_metrics.items():
            found = _pooled(metric, test_value, recent)
            if found is not None:
                measured[metric] = found
    points = drift.points if drift else ()
    events = tx.newest_events(complete.monitor, complete.window.end)
    return Evidence(
        event_time=complete.window.end,
        drifted=drift.drifted_features if drift else (),
        significant=tuple(dict.fromkeys(point.feature for point in points if point.significant)),
        faults=drift.faults if drift else (),
        drift_report=drift.meta.name if drift else "",
        quality=measured,
        new_outcomes=tx.outcomes_since(complete.monitor, baseline.trained_until),
        trained_until=baseline.trained_until,
        events=_happened(events),
        new_features=_new_features(monitor, complete, events),
        slow=_slow(tx, complete.monitor),
        predictions=sum(tally.rows for tally in complete.tallies.values()),
        window=monitor.window,
        low_budget=_low_budget(tx, complete.monitor),
    )


def _happened(events: Sequence[RetrainEvent]) -> tuple[Happened, ...]:
    return tuple(
        Happened(event.source, event.meta.name, event.description, event.event_time)
        for event in events
    )


def _new_features(
    monitor: Monitor, complete: CompleteWindow, events: Sequence[RetrainEvent]
) -> tuple[str, ...]:
    """Columns that at least half of the rows have, or that the newest snapshot has."""
    known = complete.baselines[complete.serving].columns
    if not known:
        return ()
    tally = complete.tallies[complete.serving]
    sent = {name for name, rows in tally.strangers.items() if 2 * rows >= tally.rows}
    stored = {
        column for event in events if event.source == monitor.dataset for column in event.columns
    }
    return tuple(sorted((sent | stored) - known))


def _slow(tx: MonitorTx, monitor: str) -> SlowAnswers | None:
    for slo in tx.slos.under(monitor):
        bound, alert = slo.sli.latency_bound, burning(tx, slo.meta.name)
        if bound is not None and alert is not None:
            return SlowAnswers(slo.meta.name, bound, alert.burn_rate, alert.remaining)
    return None


def _low_budget(tx: MonitorTx, monitor: str) -> LowBudget | None:
    restraint = in_force(tx, BudgetAction.FREEZE_TRAINING, parent_of(monitor))
    if restraint is None:
        return None
    return LowBudget(restraint.slo, restraint.remaining, restraint.rule.until_above)


def _pooled(
    metric: str, test_value: float, reports: Sequence[PerformanceReport]
) -> MeasuredQuality | None:
    half_widths = {
        "auc": [report.auc_half_width for report in reports],
        "log_loss": [report.log_loss_half_width for report in reports],
    }.get(metric)
    values = [report.metrics[metric] for report in reports if metric in report.metrics]
    if half_widths is None or len(values) < len(reports) or not all(half_widths):
        return None
    return MeasuredQuality(
        metric=metric,
        value=float(np.mean(values)),
        half_width=float(np.sqrt(np.sum(np.square(half_widths)))) / len(values),
        test_value=test_value,
        outcomes=min(report.outcomes for report in reports),
        report=reports[0].meta.name,
    )
