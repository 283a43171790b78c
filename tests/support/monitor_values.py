"""Monitors, policies and decisions for tests of the monitor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.monitor.core.deciding import Choice
from services.monitor.core.evidence import Evidence
from services.monitor.core.loop.episodes import Episode, RetrainPlan
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import DecisionKind, Monitor, RetrainDecision, RetrainPolicy
from services.monitor.core.use_cases.monitors import create_monitor
from services.monitor.core.use_cases.policies import create_policy
from services.monitor.core.use_cases.retraining import record_decision

MONITOR = "projects/default/monitors/delays"
POLICY = f"{MONITOR}/retrainPolicies/drift"
ENDPOINT = "projects/default/endpoints/delays"
DATASET = "projects/default/datasets/flights"
JOB = "projects/default/trainingJobs/first"
CHAMPION = "projects/default/models/delays/versions/1"
MARCH = datetime(2013, 3, 1, tzinfo=UTC)
PLAN = RetrainPlan(
    endpoint=ENDPOINT,
    dataset=DATASET,
    template_job=JOB,
    include_template_snapshot=True,
    lookback_days=0,
    min_phase_outcomes=9,
)


def watched(tx: MonitorTx, name: str = MONITOR, **fields: Any) -> Monitor:
    """A new monitor."""
    fields = {"endpoint": ENDPOINT, "dataset": DATASET, **fields}
    return create_monitor(tx, name, {}, lambda meta: Monitor(meta=meta, **fields))


def policy_of(tx: MonitorTx, name: str = POLICY, **fields: Any) -> RetrainPolicy:
    """A new policy of a monitor that exists."""
    fields = {"template_job": JOB, "min_drifted_features": 1, **fields}
    return create_policy(tx, name, lambda meta: RetrainPolicy(meta=meta, **fields))


def triggered(
    tx: MonitorTx, policy: RetrainPolicy, event_time: datetime = MARCH, report: str = ""
) -> RetrainDecision:
    """The decision to retrain, with its episode."""
    choice = Choice(DecisionKind.TRIGGERED, "DATA_DRIFT", "It drifted.", {}, report)
    return record_decision(tx, policy, choice, Evidence(event_time=event_time), CHAMPION)


def new_episode(tx: MonitorTx) -> Episode:
    """The first episode of a new monitor."""
    watched(tx)
    episode = tx.episodes.get(triggered(tx, policy_of(tx)).episode)
    assert episode is not None
    return replace(episode)
