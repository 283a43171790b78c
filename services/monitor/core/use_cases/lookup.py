"""Resources by name, or the error that says what is missing."""

from __future__ import annotations

from services.monitor.core.errors import (
    DecisionNotFound,
    EpisodeNotFound,
    MonitorNotFound,
    PolicyNotFound,
    ReportNotFound,
)
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.names import (
    DRIFT_REPORT,
    EPISODE,
    MONITOR,
    PERFORMANCE_REPORT,
    RETRAIN_DECISION,
    RETRAIN_POLICY,
    checked,
)
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import (
    DriftReport,
    Monitor,
    PerformanceReport,
    RetrainDecision,
    RetrainPolicy,
)


def the_monitor(tx: MonitorTx, name: str, field: str = "name") -> Monitor:
    """The monitor; `field` says where in the request its name stood.

    Raises:
        MonitorNotFound: There is none.
    """
    monitor = tx.monitors.get(checked(MONITOR, name, field))
    if monitor is None:
        raise MonitorNotFound(name)
    return monitor


def the_policy(tx: MonitorTx, name: str, field: str = "name") -> RetrainPolicy:
    """The policy; `field` says where in the request its name stood.

    Raises:
        PolicyNotFound: There is none.
    """
    policy = tx.policies.get(checked(RETRAIN_POLICY, name, field))
    if policy is None:
        raise PolicyNotFound(name)
    return policy


def the_decision(tx: MonitorTx, name: str) -> RetrainDecision:
    """The decision.

    Raises:
        DecisionNotFound: There is none.
    """
    decision = tx.decisions.get(checked(RETRAIN_DECISION, name, "name"))
    if decision is None:
        raise DecisionNotFound(name)
    return decision


def the_drift_report(tx: MonitorTx, name: str) -> DriftReport:
    """The report.

    Raises:
        ReportNotFound: There is none.
    """
    report = tx.drift_reports.get(checked(DRIFT_REPORT, name, "name"))
    if report is None:
        raise ReportNotFound(name)
    return report


def the_performance_report(tx: MonitorTx, name: str) -> PerformanceReport:
    """The report.

    Raises:
        ReportNotFound: There is none.
    """
    report = tx.performance_reports.get(checked(PERFORMANCE_REPORT, name, "name"))
    if report is None:
        raise ReportNotFound(name)
    return report


def the_episode(tx: MonitorTx, name: str) -> Episode:
    """The episode.

    Raises:
        EpisodeNotFound: There is none.
    """
    episode = tx.episodes.get(checked(EPISODE, name, "name"))
    if episode is None:
        raise EpisodeNotFound(name)
    return episode
