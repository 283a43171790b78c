"""Resources by name, or the error that says what is missing."""

from __future__ import annotations

from services.common.resources import existing
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
    return existing(tx.monitors, MONITOR, name, MonitorNotFound, field=field)


def the_policy(tx: MonitorTx, name: str, field: str = "name") -> RetrainPolicy:
    """The policy; `field` says where in the request its name stood.

    Raises:
        PolicyNotFound: There is none.
    """
    return existing(tx.policies, RETRAIN_POLICY, name, PolicyNotFound, field=field)


def the_decision(tx: MonitorTx, name: str) -> RetrainDecision:
    """The decision.

    Raises:
        DecisionNotFound: There is none.
    """
    return existing(tx.decisions, RETRAIN_DECISION, name, DecisionNotFound)


def the_drift_report(tx: MonitorTx, name: str) -> DriftReport:
    """The report.

    Raises:
        ReportNotFound: There is none.
    """
    return existing(tx.drift_reports, DRIFT_REPORT, name, ReportNotFound)


def the_performance_report(tx: MonitorTx, name: str) -> PerformanceReport:
    """The report.

    Raises:
        ReportNotFound: There is none.
    """
    return existing(tx.performance_reports, PERFORMANCE_REPORT, name, ReportNotFound)


def the_episode(tx: MonitorTx, name: str) -> Episode:
    """The episode.

    Raises:
        EpisodeNotFound: There is none.
    """
    return existing(tx.episodes, EPISODE, name, EpisodeNotFound)
