"""Decisions about retraining, and the episodes that they start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from services.common.causality import caused_by
from services.common.names import parent_of
from services.monitor.core.deciding import Choice, decide
from services.monitor.core.errors import EpisodeActive
from services.monitor.core.evidence import Evidence
from services.monitor.core.history import History
from services.monitor.core.loop.episodes import Episode, EpisodeState, RetrainPlan, charges_of
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import DecisionKind, RetrainDecision, RetrainPolicy
from services.monitor.core.use_cases.identities import new_child_meta, new_meta
from services.monitor.core.use_cases.lookup import the_monitor


def consider_retraining(
    tx: MonitorTx, policy: RetrainPolicy, evidence: Evidence, champion: str
) -> RetrainDecision | None:
    """What the policy decides on this evidence, recorded; None if no trigger came near.

    Called again for the same window, it gives the first decision.

    Args:
        tx: The transaction.
        policy: The policy.
        evidence: What is known when a window has been judged.
        champion: Version that serves, by resource name.
    """
    known = tx.decisions.get(_decision_name(policy, evidence.event_time))
    if known is not None:
        return known
    monitor = parent_of(policy.meta.name)
    history = history_of(tx, monitor)
    if policy.budget is not None or policy.worth_of_hundredth is not None:
        history = replace(history, charges=charges_of(tx.episodes.under(monitor)))
    choice = decide(policy, evidence, history)
    if choice is None:
        return None
    return record_decision(tx, policy, choice, evidence, champion)


def history_of(tx: MonitorTx, monitor: str) -> History:
    """What the monitor's loop is at, and was, apart from what it cost."""
    newest = tx.episodes.newest(monitor)
    if newest is None:
        return History()
    return History(
        active_episode="" if newest.is_over else newest.meta.name,
        last_end=newest.end_event_time,
        last_start=newest.event_time,
        new_features=newest.new_features,
    )


def record_decision(
    tx: MonitorTx, policy: RetrainPolicy, choice: Choice, evidence: Evidence, champion: str
) -> RetrainDecision:
    """The decision and, when it is to retrain, the episode that it starts.

    Args:
        tx: The transaction.
        policy: That decided.
        choice: What it decided.
        evidence: On what.
        champion: Version that serves, by resource name.

    Raises:
        EpisodeActive: It is to retrain, and an episode of the monitor is under way.
    """
    decision = RetrainDecision(
        meta=new_meta(tx, _decision_name(policy, evidence.event_time)),
        policy=policy.meta.name,
        event_time=evidence.event_time,
        kind=choice.kind,
        reason=choice.reason,
        explanation=choice.explanation,
        numbers=dict(choice.numbers),
        report=choice.report,
    )
    if choice.kind is DecisionKind.TRIGGERED:
        return _start_episode(tx, policy, decision, champion, evidence)
    tx.decisions.add(decision)
    with caused_by("", _report_event(tx, decision)):
        _tell(tx, decision)
    return decision


def save_episode(tx: MonitorTx, episode: Episode, facts: Mapping[str, str]) -> Episode:
    """The next revision of an episode, stored with its event.

    An episode that is over also gets the event time of its end: the end of the newest
    window that had been judged by then.

    Args:
        tx: The transaction.
        episode: After its step; `last_event` is still the one before.
        facts: What the step brought, for the event.

    Raises:
        ConcurrentChange: The stored revision is not the one just before.
    """
    before = tx.episodes.get(episode.meta.name)
    if before is None or before.state is not episode.state:
        kind = episode.state.lower()
    else:
        kind = "waits" if episode.message else "goes_on"
    with caused_by(episode.meta.uid, episode.last_event):
        event = tx.tell(f"episode.{kind}", episode.meta.name, facts)
    saved = replace(episode, last_event=event)
    if saved.is_over:
        newest = tx.performance_reports.newest(saved.monitor)
        judged_until = saved.event_time if newest is None else newest.window_end
        saved = replace(saved, end_event_time=max(saved.event_time, judged_until))
    tx.episodes.replace(saved)
    return saved


def _start_episode(
    tx: MonitorTx,
    policy: RetrainPolicy,
    decision: RetrainDecision,
    champion: str,
    evidence: Evidence,
) -> RetrainDecision:
    monitor = the_monitor(tx, parent_of(policy.meta.name))
    history = history_of(tx, monitor.meta.name)
    if history.active_episode:
        raise EpisodeActive(monitor.meta.name, history.active_episode)
    meta = new_child_meta(tx, monitor.meta.name, "episodes")
    decision = replace(decision, episode=meta.name)
    with caused_by(meta.uid, _report_event(tx, decision)):
        decided = _tell(tx, decision)
    with caused_by(meta.uid, decided):
        detected = tx.tell(
            "episode.detected", meta.name, {"decision": decision.meta.name, "champion": champion}
        )
    tx.decisions.add(decision)
    tx.episodes.add(
        Episode(
            meta=meta,
            state=EpisodeState.DETECTED,
            plan=RetrainPlan(
                endpoint=monitor.endpoint,
                dataset=monitor.dataset,
                template_job=policy.template_job,
                include_template_snapshot=policy.include_template_snapshot,
                lookback_days=policy.lookback_days,
                min_phase_outcomes=policy.min_phase_outcomes,
                critical=policy.critical,
            ),
            decision=decision.meta.name,
            event_time=decision.event_time,
            champion=champion,
            last_event=detected,
            new_features=history.after_new_features(evidence.new_features),
        )
    )
    return decision


def _decision_name(policy: RetrainPolicy, event_time: datetime) -> str:
    monitor = parent_of(policy.meta.name)
    return f"{monitor}/retrainDecisions/{event_time:%Y%m%dt%H%M%Sz}-{policy.meta.uid[:8]}"


def _report_event(tx: MonitorTx, decision: RetrainDecision) -> str:
    return tx.newest_event(decision.report) if decision.report else ""


def _tell(tx: MonitorTx, decision: RetrainDecision) -> str:
    return tx.tell(
        "decision.made",
        decision.meta.name,
        {
            "kind": decision.kind.value,
            "reason": decision.reason,
            "policy": decision.policy,
            "explanation": decision.explanation,
            "report": decision.report,
            "episode": decision.episode,
        },
    )
