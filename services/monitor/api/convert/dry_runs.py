"""Dry runs of retrain policies to and from their protos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from roundhouse.monitor.v1 import monitor_pb2 as pb
from roundhouse.monitor.v1 import retrain_service_pb2 as service_pb

from services.common.money import Money
from services.common.resources import Meta
from services.common.rpc.convert import from_timestamp, to_money, to_timestamp
from services.common.rpc.inputs import check_settable
from services.monitor.api.convert.monitors import span
from services.monitor.api.convert.retraining import POLICY_FIELDS, policy_maker
from services.monitor.core.replaying import Replayed
from services.monitor.core.use_cases.dry_run import DryRun, DryRunOrder

_Response = service_pb.DryRunRetrainingResponse


def order_of(request: service_pb.DryRunRetrainingRequest, now: datetime) -> DryRunOrder:
    """What is to be tried; a policy to try has no name.

    Raises:
        InvalidRequest: Of the policy, something is set that is the service's.
    """
    policy = None
    if request.HasField("retrain_policy"):
        check_settable(request.retrain_policy, "retrain_policy", POLICY_FIELDS)
        policy = policy_maker(request.retrain_policy)(Meta("", "", 1, now, now))
    return DryRunOrder(
        monitor=request.parent,
        policy=policy,
        start=from_timestamp(request.start_time),
        end=from_timestamp(request.end_time),
        span=span(request.episode_duration) if request.HasField("episode_duration") else None,
    )


def dry_run_to_protos(
    run: DryRun, templates: Mapping[str, Money | None], notes: Sequence[str]
) -> Iterator[_Response]:
    """The decisions, then the summary.

    Args:
        run: What came of it.
        templates: What the template jobs were charged, where that is known.
        notes: What could not be told, and why, a sentence each.
    """
    spent: Counter[str] = Counter()
    uncosted = 0
    for replayed in run.decisions:
        decision = _decision_to_proto(replayed)
        if replayed.episode is not None:
            cost = run.cost_of(replayed, templates)
            decision.episode.CopyFrom(
                _episode_to_proto(replayed, run.templates[replayed.policy], cost)
            )
            if cost is None:
                uncosted += 1
            else:
                spent[cost.currency] += cost.micros
        yield _Response(decision=decision)
    summary = _Response.Summary(
        windows=run.windows,
        windows_without_evidence=run.unkept,
        episodes=len(run.started),
        real_episodes=run.real_episodes,
        declined=run.declined,
        costs=[to_money(micros, currency) for currency, micros in sorted(spent.items())],
        episodes_without_cost=uncosted,
        notes=notes,
    )
    summary.episode_duration.FromTimedelta(run.span)
    yield _Response(summary=summary)


def _decision_to_proto(replayed: Replayed) -> _Response.Decision:
    choice = replayed.choice
    return _Response.Decision(
        decision=pb.RetrainDecision(
            event_time=to_timestamp(replayed.event_time),
            policy=replayed.policy,
            kind=pb.RetrainDecision.Kind.Value(f"KIND_{choice.kind.value}"),
            reason=choice.reason,
            explanation=choice.explanation,
            numbers=choice.numbers,
            report=choice.report,
        ),
        hypothetical=replayed.hypothetical,
    )


def _episode_to_proto(replayed: Replayed, template: str, cost: Money | None) -> _Response.Episode:
    episode = replayed.episode
    assert episode is not None
    message = _Response.Episode(
        promoted=episode.promoted,
        episode=episode.real.meta.name if episode.real else "",
        training_job=episode.real.training_job if episode.real else "",
        template_job=template,
    )
    if episode.end is not None:
        message.end_time.CopyFrom(to_timestamp(episode.end))
    if cost is not None:
        message.cost.CopyFrom(to_money(cost.micros, cost.currency))
    return message
