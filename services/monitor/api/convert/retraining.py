"""Policies, decisions and episodes to and from their protos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from roundhouse.monitor.v1 import monitor_pb2 as pb

from services.common.errors import FieldViolation, InvalidRequest
from services.common.resources import Meta
from services.common.rpc.convert import from_money, to_duration, to_money, to_timestamp
from services.monitor.api.convert.monitors import span
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.resources import (
    Efficiency,
    EventTrigger,
    NewFeatureTrigger,
    QualityTrigger,
    RetrainBudget,
    RetrainDecision,
    RetrainEvent,
    RetrainPolicy,
    ServingPrice,
)
from services.monitor.core.schedules import CronSchedule

_MIN_DRIFTED_FEATURES: Final = 1
_MIN_TRIGGER_OUTCOMES: Final = 500
_MIN_NEW_OUTCOMES: Final = 1000
_MIN_PHASE_OUTCOMES: Final = 200

POLICY_FIELDS: Final = {
    "data_drift": ("min_drifted_features",),
    "quality": ("quality",),
    "volume": ("volume_min_new_outcomes",),
    "schedule": ("schedule_period", "schedule_cron"),
    "cool_down": ("cool_down",),
    "min_new_outcomes": ("min_new_outcomes",),
    "template_job": ("template_job",),
    "include_template_snapshot": ("include_template_snapshot",),
    "lookback_days": ("lookback_days",),
    "min_phase_outcomes": ("min_phase_outcomes",),
    "privacy_hold": ("privacy_hold",),
    "budget": ("budget",),
    "worth_of_hundredth": ("worth_of_hundredth",),
    "events": ("events",),
    "new_features": ("new_features",),
    "efficiency": ("efficiency",),
    "critical": ("critical",),
}
"""The policy's attributes behind each field that a caller sets."""


def policy_maker(message: pb.RetrainPolicy) -> Callable[[Meta], RetrainPolicy]:
    """Gives the wanted policy its identity; what is unset gets its default.

    Raises:
        InvalidRequest: An amount of money is none, or one of a pair is missing.
    """
    quality, volume, schedule = message.quality, message.volume, message.schedule
    rest = {"cool_down": span(message.cool_down)} if message.HasField("cool_down") else {}
    budget = None
    if message.HasField("budget"):
        limit = from_money(message.budget.limit, "retrain_policy.budget.limit")
        budget = RetrainBudget(limit, span(message.budget.period))
    worth = None
    if message.HasField("worth_of_hundredth"):
        worth = from_money(message.worth_of_hundredth, "retrain_policy.worth_of_hundredth")
    efficiency = _efficiency(message)
    return lambda meta: RetrainPolicy(
        meta=meta,
        template_job=message.template_job,
        min_drifted_features=(message.data_drift.min_drifted_features or _MIN_DRIFTED_FEATURES)
        if message.HasField("data_drift")
        else None,
        quality=QualityTrigger(
            quality.metric, quality.max_drop, quality.min_outcomes or _MIN_TRIGGER_OUTCOMES
        )
        if message.HasField("quality")
        else None,
        volume_min_new_outcomes=volume.min_new_outcomes if message.HasField("volume") else None,
        schedule_period=span(schedule.period) if schedule.HasField("period") else None,
        schedule_cron=_cron(message),
        min_new_outcomes=message.min_new_outcomes or _MIN_NEW_OUTCOMES,
        include_template_snapshot=message.include_template_snapshot,
        lookback_days=message.lookback_days,
        min_phase_outcomes=message.min_phase_outcomes or _MIN_PHASE_OUTCOMES,
        privacy_hold=message.privacy_hold,
        budget=budget,
        worth_of_hundredth=worth,
        events=EventTrigger(tuple(message.events.kinds), tuple(message.events.datasets))
        if message.HasField("events")
        else None,
        new_features=NewFeatureTrigger(
            message.new_features.min_columns or 1, tuple(message.new_features.ignored)
        )
        if message.HasField("new_features")
        else None,
        efficiency=efficiency,
        critical=message.critical,
        **rest,
    )


def _cron(message: pb.RetrainPolicy) -> CronSchedule | None:
    schedule = message.schedule
    if not message.HasField("schedule") or (
        schedule.HasField("period") and not schedule.cron and not schedule.time_zone
    ):
        return None
    return CronSchedule(schedule.cron, schedule.time_zone or "UTC")


def _efficiency(message: pb.RetrainPolicy) -> Efficiency | None:
    if not message.HasField("efficiency"):
        return None
    wanted, field = message.efficiency, "retrain_policy.efficiency"
    given = [wanted.HasField("price_per_hour"), wanted.HasField("max_price_per_thousand")]
    if not any(given):
        return Efficiency()
    if not all(given):
        text = "needs price_per_hour and max_price_per_thousand, or neither"
        raise InvalidRequest([FieldViolation(field, text)])
    return Efficiency(
        ServingPrice(
            from_money(wanted.price_per_hour, f"{field}.price_per_hour"),
            from_money(wanted.max_price_per_thousand, f"{field}.max_price_per_thousand"),
        )
    )


def policy_to_proto(policy: RetrainPolicy) -> pb.RetrainPolicy:
    """The policy on the wire."""
    meta = policy.meta
    message = pb.RetrainPolicy(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        cool_down=to_duration(policy.cool_down.total_seconds()),
        min_new_outcomes=policy.min_new_outcomes,
        template_job=policy.template_job,
        include_template_snapshot=policy.include_template_snapshot,
        lookback_days=policy.lookback_days,
        min_phase_outcomes=policy.min_phase_outcomes,
        privacy_hold=policy.privacy_hold,
        critical=policy.critical,
    )
    _set_triggers(message, policy)
    _set_money(message, policy)
    return message


def _set_triggers(message: pb.RetrainPolicy, policy: RetrainPolicy) -> None:
    if policy.min_drifted_features is not None:
        message.data_drift.min_drifted_features = policy.min_drifted_features
    if policy.quality is not None:
        message.quality.metric = policy.quality.metric
        message.quality.max_drop = policy.quality.max_drop
        message.quality.min_outcomes = policy.quality.min_outcomes
    if policy.volume_min_new_outcomes is not None:
        message.volume.min_new_outcomes = policy.volume_min_new_outcomes
    if policy.schedule_period is not None:
        message.schedule.period.FromTimedelta(policy.schedule_period)
    if policy.schedule_cron is not None:
        message.schedule.cron = policy.schedule_cron.expression
        message.schedule.time_zone = policy.schedule_cron.time_zone
    if policy.events is not None:
        message.events.kinds.extend(policy.events.kinds)
        message.events.datasets.extend(policy.events.datasets)
    if policy.new_features is not None:
        message.new_features.min_columns = policy.new_features.min_columns
        message.new_features.ignored.extend(policy.new_features.ignored)


def _set_money(message: pb.RetrainPolicy, policy: RetrainPolicy) -> None:
    if policy.efficiency is not None:
        message.efficiency.SetInParent()
        price = policy.efficiency.price
        if price is not None:
            hour, thousand = price.per_hour, price.max_per_thousand
            message.efficiency.price_per_hour.CopyFrom(to_money(hour.micros, hour.currency))
            message.efficiency.max_price_per_thousand.CopyFrom(
                to_money(thousand.micros, thousand.currency)
            )
    if policy.budget is not None:
        limit = policy.budget.limit
        message.budget.limit.CopyFrom(to_money(limit.micros, limit.currency))
        message.budget.period.FromTimedelta(policy.budget.period)
    worth = policy.worth_of_hundredth
    if worth is not None:
        message.worth_of_hundredth.CopyFrom(to_money(worth.micros, worth.currency))


def decision_to_proto(decision: RetrainDecision) -> pb.RetrainDecision:
    """The decision on the wire."""
    return pb.RetrainDecision(
        name=decision.meta.name,
        create_time=to_timestamp(decision.meta.create_time),
        event_time=to_timestamp(decision.event_time),
        policy=decision.policy,
        kind=pb.RetrainDecision.Kind.Value(f"KIND_{decision.kind.value}"),
        reason=decision.reason,
        explanation=decision.explanation,
        numbers=decision.numbers,
        report=decision.report,
        episode=decision.episode,
    )


def event_to_proto(event: RetrainEvent) -> pb.RetrainEvent:
    """The event on the wire."""
    return pb.RetrainEvent(
        name=event.meta.name,
        create_time=to_timestamp(event.meta.create_time),
        kind="" if event.snapshot else event.source,
        snapshot=event.snapshot,
        description=event.description,
        event_time=to_timestamp(event.event_time),
    )


def episode_to_proto(episode: Episode) -> pb.Episode:
    """The episode on the wire."""
    return pb.Episode(
        name=episode.meta.name,
        create_time=to_timestamp(episode.meta.create_time),
        update_time=to_timestamp(episode.meta.update_time),
        state=pb.Episode.State.Value(f"STATE_{episode.state.value}"),
        decision=episode.decision,
        champion=episode.champion,
        snapshot=episode.snapshot,
        training_job=episode.training_job,
        candidate=episode.candidate,
        gate_result=episode.gate_result,
        approval=episode.approval,
        rollout=episode.rollout,
        message=episode.message,
    )
