"""What speaks for a retraining: triggers of a policy that fire, or come near."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.monitor.core.evidence import Evidence, MeasuredQuality
from services.monitor.core.history import History
from services.monitor.core.resources import QualityTrigger, RetrainPolicy

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Signal:
    """A reason with its numbers, in words and by name.

    Attributes:
        report: That gave rise to it, by resource name.
    """

    reason: str
    words: str
    numbers: Mapping[str, float]
    report: str = ""


def fired_triggers(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    """The triggers that fire, in the order in which they give the reason."""
    if policy.min_drifted_features is not None:
        drifted = len(evidence.drifted)
        if drifted >= policy.min_drifted_features:
            yield _drift_signal("DATA_DRIFT", policy.min_drifted_features, evidence)
    trigger = policy.quality
    if trigger is not None:
        measured = measured_by(trigger, evidence)
        if measured is not None and measured.drop - measured.half_width > trigger.max_drop:
            yield quality_signal("QUALITY", trigger, measured)
    wanted = policy.volume_min_new_outcomes
    if wanted is not None and evidence.new_outcomes >= wanted:
        yield Signal(
            "VOLUME",
            f"{evidence.new_outcomes:,} rows with outcomes are new; {wanted:,} suffice.",
            {"new_outcomes": evidence.new_outcomes, "min_new_outcomes": wanted},
        )
    yield from _scheduled(policy, evidence, history)
    yield from _happened(policy, evidence, history)
    columns = _new_columns(policy, evidence, history)
    if policy.new_features is not None and len(columns) >= policy.new_features.min_columns:
        yield _column_signal("NEW_FEATURES", policy.new_features.min_columns, columns)


def posing_faults(policy: RetrainPolicy, evidence: Evidence) -> Iterator[Signal]:
    """Broken values that would be taken for drift."""
    if policy.min_drifted_features is not None and evidence.faults:
        yield fault_signal(evidence)


def near_triggers(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    """The triggers that came near and did not fire."""
    wanted = policy.min_drifted_features
    if wanted is not None and (
        len(evidence.significant) >= wanted or (evidence.drifted and wanted > 1)
    ):
        yield _drift_signal("MARGINAL", wanted, evidence)
    trigger = policy.quality
    if trigger is not None:
        measured = measured_by(trigger, evidence)
        if measured is not None and measured.drop > trigger.max_drop:
            yield quality_signal("MARGINAL", trigger, measured)
    columns = _new_columns(policy, evidence, history)
    if policy.new_features is not None and columns:
        yield _column_signal("MARGINAL", policy.new_features.min_columns, columns)


def fault_signal(evidence: Evidence) -> Signal:
    """That values are broken, with the numbers of each fault."""
    numbers = {
        f"{fault.feature}.{name}": value
        for fault in evidence.faults
        for name, value in fault.numbers.items()
    }
    return Signal(
        "DATA_FAULT",
        f"Declined: broken data look like drift and would be learned. "
        f"{' '.join(fault.reason for fault in evidence.faults)}",
        {"data_faults": len(evidence.faults), **numbers},
        evidence.drift_report,
    )


def measured_by(trigger: QualityTrigger, evidence: Evidence) -> MeasuredQuality | None:
    """The metric of a trigger, if enough is known of it."""
    measured = evidence.quality.get(trigger.metric)
    if measured is None or measured.outcomes < trigger.min_outcomes:
        return None
    return measured


def quality_signal(reason: str, trigger: QualityTrigger, measured: MeasuredQuality) -> Signal:
    """How the metric stands beside what is allowed."""
    return Signal(
        reason,
        f"The {measured.metric} is {measured.value:.4f} +- {measured.half_width:.4f}, worse by "
        f"{measured.drop:.4f} than the version's test value {measured.test_value:.4f}; "
        f"{trigger.max_drop:.4f} is allowed.",
        {
            measured.metric: measured.value,
            "half_width": measured.half_width,
            "test_value": measured.test_value,
            "drop": measured.drop,
            "max_drop": trigger.max_drop,
            "outcomes": measured.outcomes,
        },
        measured.report,
    )


def _scheduled(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    period = policy.schedule_period
    if period is not None and evidence.trained_until is not None:
        age = evidence.event_time - evidence.trained_until
        if age >= period:
            yield Signal(
                "SCHEDULE",
                f"The training data ended {age / _DAY:.1f} days ago; "
                f"the period is {period / _DAY:.1f} days.",
                {"age_days": age / _DAY, "period_days": period / _DAY},
            )
    done = [moment for moment in (evidence.trained_until, history.last_start) if moment]
    if policy.schedule_cron is not None and done:
        due = policy.schedule_cron.next_after(max(done))
        if due is not None and due <= evidence.event_time:
            overdue = (evidence.event_time - due) / _DAY
            yield Signal(
                "SCHEDULE",
                f"Due since {due:%Y-%m-%d %H:%M} UTC by {policy.schedule_cron.expression!r} "
                f"in {policy.schedule_cron.time_zone}.",
                {"overdue_days": overdue},
            )


def _happened(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    if policy.events is None:
        return
    done = [moment for moment in (evidence.trained_until, history.last_start) if moment]
    wanted = {*policy.events.kinds, *policy.events.datasets}
    for event in evidence.events:
        if event.source in wanted and all(event.event_time >= moment for moment in done):
            age = (evidence.event_time - event.event_time) / _DAY
            yield Signal(
                "EVENT",
                f"{event.source} at {event.event_time:%Y-%m-%d %H:%M} UTC: {event.description}",
                {"event_age_days": age},
            )


def _new_columns(policy: RetrainPolicy, evidence: Evidence, history: History) -> list[str]:
    if policy.new_features is None:
        return []
    seen = {*policy.new_features.ignored, *history.new_features}
    return [column for column in evidence.new_features if column not in seen]


def _column_signal(reason: str, wanted: int, columns: Sequence[str]) -> Signal:
    return Signal(
        reason,
        f"The serving version was not trained beside {', '.join(columns)} "
        f"({len(columns)} new, {wanted} suffice).",
        {"new_features": len(columns), "min_new_features": wanted},
    )


def _drift_signal(reason: str, wanted: int, evidence: Evidence) -> Signal:
    if evidence.drifted:
        words = f"Drifted: {', '.join(evidence.drifted)}"
    else:
        words = f"Different in this window alone: {', '.join(evidence.significant)}"
    return Signal(
        reason,
        f"{words} ({len(evidence.drifted)} drifted, {wanted} suffice).",
        {
            "drifted_features": len(evidence.drifted),
            "significant_features": len(evidence.significant),
            "min_drifted_features": wanted,
        },
        evidence.drift_report,
    )
