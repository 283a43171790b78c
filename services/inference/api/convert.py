"""Endpoints and rollouts to their messages, and requests to what the core takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from roundhouse.inference.v1 import endpoint_pb2 as endpoint_pb
from roundhouse.inference.v1 import rollout_pb2 as rollout_pb

from services.common.rpc.convert import from_duration, to_timestamp
from services.common.rpc.verdicts import criteria_message, criteria_of, finding_message
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.endpoints import Endpoint, Runtime
from services.inference.core.fallbacks import Fallback
from services.inference.core.observing import ObservationRules, Redaction, Treatment
from services.inference.core.plans import plan_digest
from services.inference.core.rollouts import (
    DEFAULT_PHASES,
    OnInconclusive,
    Phase,
    PhaseKind,
    PhaseOutcome,
    Rollout,
    ShadowPlan,
)
from services.inference.core.routing import Variant

_DEFAULT_THRESHOLD: Final = 0.5
_DEFAULT_DURATION: Final = timedelta(days=1)

_RUNTIMES: Final = {
    endpoint_pb.Endpoint.RUNTIME_UNSPECIFIED: Runtime.ONNX_RUNTIME,
    endpoint_pb.Endpoint.RUNTIME_ONNX_RUNTIME: Runtime.ONNX_RUNTIME,
    endpoint_pb.Endpoint.RUNTIME_TRITON: Runtime.TRITON,
}

_KINDS: Final = {
    rollout_pb.Phase.KIND_UNSPECIFIED: PhaseKind.CANARY,
    rollout_pb.Phase.KIND_CANARY: PhaseKind.CANARY,
    rollout_pb.Phase.KIND_SHADOW: PhaseKind.SHADOW,
    rollout_pb.Phase.KIND_DARK: PhaseKind.DARK,
}


def endpoint_message(
    endpoint: Endpoint,
    is_ready: Callable[[Variant], bool],
    memory_bytes: Callable[[Variant], int],
) -> endpoint_pb.Endpoint:
    """`endpoint` as it goes over the wire."""
    meta, policy = endpoint.meta, endpoint.policy
    return endpoint_pb.Endpoint(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        initial_version=endpoint.initial_version,
        initial_approval=endpoint.initial_approval,
        runtime=endpoint_pb.Endpoint.Runtime.Value(f"RUNTIME_{endpoint.runtime}"),
        variants=[
            endpoint_pb.Variant(
                version=variant.version,
                weight_basis_points=variant.weight_bp,
                digest=variant.digest,
                ready=is_ready(variant),
                memory_bytes=memory_bytes(variant),
            )
            for variant in endpoint.variants
        ],
        decision_policy=endpoint_pb.DecisionPolicy(
            version=policy.version,
            threshold=policy.threshold,
            positive_action=policy.positive_action,
            negative_action=policy.negative_action,
            minimum_confidence=policy.minimum_confidence,
            abstain_action=policy.abstain_action,
        ),
        alias=endpoint.alias,
        log_observations=endpoint.logs_observations,
        observation_rules=endpoint_pb.ObservationRules(
            sample_rate=endpoint.observation_rules.sample_rate,
            redactions=[
                endpoint_pb.Redaction(
                    feature=each.feature,
                    treatment=endpoint_pb.Redaction.Treatment.Value(f"TREATMENT_{each.treatment}"),
                )
                for each in endpoint.observation_rules.redactions
            ],
        ),
        fallback=None if endpoint.fallback is None else _fallback_message(endpoint.fallback),
        policy_version="" if endpoint.points_at is None else endpoint.points_at.name,
        forbid_pins=endpoint.forbids_pins,
    )


def policy_of(message: endpoint_pb.DecisionPolicy) -> DecisionPolicy:
    """The policy that a request describes, as its first version.

    Raises:
        InvalidPolicy: It contradicts itself.
    """
    return DecisionPolicy(
        threshold=message.threshold or _DEFAULT_THRESHOLD,
        positive_action=message.positive_action,
        negative_action=message.negative_action,
        minimum_confidence=message.minimum_confidence,
        abstain_action=message.abstain_action,
    )


def _fallback_message(fallback: Fallback) -> endpoint_pb.Fallback:
    message = endpoint_pb.Fallback()
    if fallback.variant is not None:
        message.version.version = fallback.variant.version
    if fallback.decision is not None:
        message.decision.label = fallback.decision.label
        message.decision.action = fallback.decision.action
        message.decision.probability = fallback.decision.probability
    if fallback.budget_s is not None:
        message.time_budget.FromTimedelta(timedelta(seconds=fallback.budget_s))
    return message


def observation_rules_of(message: endpoint_pb.ObservationRules) -> ObservationRules:
    """What a request wants observed.

    Raises:
        InvalidObservationRules: It contradicts itself.
    """
    digest = endpoint_pb.Redaction.TREATMENT_DIGEST
    return ObservationRules(
        message.sample_rate if message.HasField("sample_rate") else 1.0,
        tuple(
            Redaction(
                each.feature, Treatment.DIGEST if each.treatment == digest else Treatment.DROP
            )
            for each in message.redactions
        ),
    )


def runtime_of(message: endpoint_pb.Endpoint) -> Runtime:
    """Where the endpoint's versions shall run."""
    return _RUNTIMES[message.runtime]


def phases_of(phases: Sequence[rollout_pb.Phase]) -> tuple[Phase, ...]:
    """A rollout's phases; the usual ones if none is named."""
    if not phases:
        return DEFAULT_PHASES
    return tuple(_phase(phase) for phase in phases)


def _phase(message: rollout_pb.Phase) -> Phase:
    return Phase(
        message.weight_basis_points,
        message.min_outcomes,
        timedelta(seconds=from_duration(message.max_duration))
        if message.HasField("max_duration")
        else _DEFAULT_DURATION,
        criteria_of(message.criteria),
        _on_inconclusive(message),
        _KINDS[message.kind],
        _shadow_plan(message),
    )


def _shadow_plan(message: rollout_pb.Phase) -> ShadowPlan | None:
    if message.kind != rollout_pb.Phase.KIND_SHADOW and not message.HasField("shadow"):
        return None
    given, usual = message.shadow, ShadowPlan()
    return ShadowPlan(
        given.sample_basis_points or usual.sample_bp,
        given.min_requests or usual.min_requests,
        given.min_agreement,
    )


def rollout_message(rollout: Rollout) -> rollout_pb.Rollout:
    """`rollout` as it goes over the wire."""
    meta = rollout.meta
    return rollout_pb.Rollout(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        version=rollout.version,
        approval=rollout.approval,
        phases=[_phase_message(phase) for phase in rollout.phases],
        state=rollout_pb.Rollout.State.Value(f"STATE_{rollout.state}"),
        previous_version=rollout.previous_version,
        current_phase=rollout.current_phase,
        outcomes=[_outcome_message(outcome) for outcome in rollout.outcomes],
        message=rollout.message,
        rollback_of=rollout.rollback_of,
        rolled_back_by=rollout.rolled_back_by,
        plan_digest=rollout.plan_digest,
    )


def plan_message(phases: Sequence[Phase]) -> rollout_pb.RolloutPlan:
    """A plan as it goes over the wire."""
    return rollout_pb.RolloutPlan(
        phases=[_phase_message(phase) for phase in phases], digest=plan_digest(phases)
    )


def _phase_message(phase: Phase) -> rollout_pb.Phase:
    message = rollout_pb.Phase(
        weight_basis_points=phase.weight_bp,
        min_outcomes=phase.min_outcomes,
        criteria=criteria_message(phase.criteria),
        on_inconclusive=rollout_pb.Phase.OnInconclusive.Value(
            f"ON_INCONCLUSIVE_{phase.on_inconclusive}"
        ),
        kind=rollout_pb.Phase.Kind.Value(f"KIND_{phase.kind}"),
    )
    message.max_duration.FromTimedelta(phase.max_duration)
    if phase.shadow is not None:
        message.shadow.sample_basis_points = phase.shadow.sample_bp
        message.shadow.min_requests = phase.shadow.min_requests
        message.shadow.min_agreement = phase.shadow.min_agreement
    return message


def _outcome_message(outcome: PhaseOutcome) -> rollout_pb.PhaseOutcome:
    verdict = f"VERDICT_{outcome.verdict}" if outcome.verdict else "VERDICT_UNSPECIFIED"
    return rollout_pb.PhaseOutcome(
        phase=outcome.phase,
        start_time=to_timestamp(outcome.start_time),
        end_time=None if outcome.end_time is None else to_timestamp(outcome.end_time),
        verdict=rollout_pb.PhaseOutcome.Verdict.Value(verdict),
        reason=outcome.reason,
        numbers=outcome.numbers,
        findings=[finding_message(finding) for finding in outcome.findings],
    )


def _on_inconclusive(phase: rollout_pb.Phase) -> OnInconclusive:
    if not phase.on_inconclusive:
        return OnInconclusive.ROLL_BACK
    given = rollout_pb.Phase.OnInconclusive.Name(phase.on_inconclusive)
    return OnInconclusive(given.removeprefix("ON_INCONCLUSIVE_"))
