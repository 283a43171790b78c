"""Judges a window once it is complete: reports, decisions, and the episode they start.

All of it is one transaction, so a window is judged exactly once, however often a process
dies on the way.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.common.causality import caused_by
from services.common.resources import Meta
from services.monitor.core.deciding import Choice, Evidence, History, MeasuredQuality, decide
from services.monitor.core.drift import drift_points
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.ports import Baseline, MonitorTx
from services.monitor.core.quality import Quality, quality
from services.monitor.core.resources import (
    DecisionKind,
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainPolicy,
)
from services.monitor.core.stream.tallies import Tally
from services.monitor.core.windows import Window

SCORE: Final = "score"
"""Name of the drift point of the scores."""

_EVERY_VERSION: Final = ""


@dataclass(frozen=True, slots=True)
class CompleteWindow:
    """A window that gets no more outcomes.

    Attributes:
        monitor: By resource name.
        window: Which.
        tallies: By version; at least one.
        baselines: By version.
        position: In the log, of the newest batch counted.
    """

    monitor: str
    window: Window
    tallies: Mapping[str, Tally]
    baselines: Mapping[str, Baseline]
    position: int

    @property
    def serving(self) -> str:
        """The version with the most predictions."""
        return max(sorted(self.tallies), key=lambda version: self.tallies[version].rows)


def judge_window(tx: MonitorTx, complete: CompleteWindow) -> None:
    """Store the window's reports and what was decided on them; nothing if that was done."""
    monitor = tx.monitors.get(complete.monitor)
    if monitor is None:
        return
    done = tx.judged_until(complete.monitor)
    if done is not None and done >= complete.window.end:
        return
    tx.set_judged_until(complete.monitor, complete.window.end)
    causes: dict[str, str] = {}
    drift = _report_drift(tx, monitor, complete, causes)
    _report_performance(tx, monitor, complete, causes)
    evidence = _evidence(tx, monitor, complete, drift)
    for policy in tx.policies.under(complete.monitor):
        active = tx.active_episode(complete.monitor)
        history = History(active.meta.name if active else "", tx.last_end(complete.monitor))
        choice = decide(policy, evidence, history)
        if choice is not None:
            _record(tx, complete, policy, choice, causes.get(choice.report, ""))


def _report_drift(
    tx: MonitorTx, monitor: Monitor, complete: CompleteWindow, causes: dict[str, str]
) -> DriftReport | None:
    version = complete.serving
    tally, profile = complete.tallies[version], complete.baselines[version].profile
    if profile is None or tally.score is None or tally.rows < monitor.drift_test.min_rows:
        return None
    length, looked_back = monitor.window, monitor.drift_test.persistence_windows - 1
    earlier = [
        frozenset(point.feature for point in report.points if point.significant)
        for report in tx.newest_drift(monitor.meta.name, version, looked_back)
        if report.window_start >= complete.window.start - length * looked_back
    ]
    points = drift_points(
        {**profile.features, SCORE: profile.score},
        {
            **{name: sketch.counts for name, sketch in tally.features.items()},
            SCORE: tally.score.counts,
        },
        earlier,
        length=length,
        test=monitor.drift_test,
    )
    report = DriftReport(
        meta=_new_meta(tx, f"{monitor.meta.name}/driftReports/{complete.window.key}"),
        baseline_version=version,
        window_start=complete.window.start,
        window_end=complete.window.end,
        rows=tally.rows,
        points=points,
    )
    tx.drift_reports.add(report)
    causes[report.meta.name] = tx.tell(
        "drift_report.created",
        report.meta.name,
        {
            "baseline_version": version,
            "rows": report.rows,
            "drifted_features": list(report.drifted_features),
        },
    )
    return report


def _report_performance(
    tx: MonitorTx, monitor: Monitor, complete: CompleteWindow, causes: dict[str, str]
) -> None:
    tallies = [complete.tallies[version] for version in sorted(complete.tallies)]
    found = {
        _EVERY_VERSION: quality(
            np.concatenate([tally.labels for tally in tallies]),
            np.concatenate([tally.scores for tally in tallies]),
        )
    }
    for version in sorted(complete.tallies):
        tally = complete.tallies[version]
        found[version] = quality(tally.labels, tally.scores)
    for version, measured in found.items():
        report = _performance_report(tx, monitor, complete.window, version, measured)
        tx.performance_reports.add(report)
        causes[report.meta.name] = tx.tell(
            "performance_report.created",
            report.meta.name,
            {
                "version": version,
                "predictions": measured.predictions,
                "outcomes": measured.outcomes,
                "metrics": dict(measured.metrics),
            },
        )


def _performance_report(
    tx: MonitorTx, monitor: Monitor, window: Window, version: str, measured: Quality
) -> PerformanceReport:
    which = _short(version) if version else "all"
    return PerformanceReport(
        meta=_new_meta(tx, f"{monitor.meta.name}/performanceReports/{window.key}-{which}"),
        version=version,
        window_start=window.start,
        window_end=window.end,
        predictions=measured.predictions,
        outcomes=measured.outcomes,
        metrics=measured.metrics,
        auc_half_width=measured.half_widths.get("auc", 0.0),
        log_loss_half_width=measured.half_widths.get("log_loss", 0.0),
    )


def _evidence(
    tx: MonitorTx, monitor: Monitor, complete: CompleteWindow, drift: DriftReport | None
) -> Evidence:
    baseline = complete.baselines[complete.serving]
    recent = tx.newest_performance(
        monitor.meta.name, complete.serving, monitor.drift_test.persistence_windows
    )
    measured = {}
    if len(recent) == monitor.drift_test.persistence_windows:
        for metric, test_value in baseline.test_metrics.items():
            found = _pooled(metric, test_value, recent)
            if found is not None:
                measured[metric] = found
    return Evidence(
        event_time=complete.window.end,
        drifted=drift.drifted_features if drift else (),
        significant=tuple(point.feature for point in drift.points if point.significant)
        if drift
        else (),
        drift_report=drift.meta.name if drift else "",
        quality=measured,
        new_outcomes=tx.outcomes_since(monitor.meta.name, baseline.trained_until),
        trained_until=baseline.trained_until,
    )


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


def _record(
    tx: MonitorTx, complete: CompleteWindow, policy: RetrainPolicy, choice: Choice, cause: str
) -> None:
    triggered = choice.kind is DecisionKind.TRIGGERED
    uid = tx.new_uid()
    episode = f"{complete.monitor}/episodes/{uid}" if triggered else ""
    decision = RetrainDecision(
        meta=_new_meta(
            tx,
            f"{complete.monitor}/retrainDecisions/{complete.window.key}-{_short(policy.meta.name)}",
        ),
        policy=policy.meta.name,
        event_time=complete.window.end,
        kind=choice.kind,
        reason=choice.reason,
        explanation=choice.explanation,
        numbers=choice.numbers,
        report=choice.report,
        episode=episode,
    )
    tx.decisions.add(decision)
    with caused_by(uid if triggered else "", cause):
        event = tx.tell(
            f"retrain_decision.{choice.kind.lower()}",
            decision.meta.name,
            {"reason": choice.reason, "explanation": choice.explanation, "episode": episode},
        )
    if triggered:
        _begin(tx, complete, decision, uid, event)


def _begin(
    tx: MonitorTx, complete: CompleteWindow, decision: RetrainDecision, uid: str, cause: str
) -> None:
    with caused_by(uid, cause):
        event = tx.tell(
            "episode.detected",
            decision.episode,
            {"decision": decision.meta.name, "champion": complete.serving},
        )
    tx.episodes.add(
        Episode(
            meta=Meta(decision.episode, uid, 1, tx.now, tx.now),
            state=EpisodeState.DETECTED,
            policy=decision.policy,
            decision=decision.meta.name,
            event_time=complete.window.end,
            champion=complete.serving,
            log_position=complete.position,
            last_event=event,
        )
    )


def _new_meta(tx: MonitorTx, name: str) -> Meta:
    return Meta(name, tx.new_uid(), 1, tx.now, tx.now)


def _short(name: str) -> str:
    """Eight hex digits that tell a resource from the others in a window's names."""
    return f"{zlib.crc32(name.encode()):08x}"
