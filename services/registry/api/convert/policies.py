"""Promotion policies to and from proto messages."""

from __future__ import annotations

from typing import Final

from roundhouse.registry.v1 import model_pb2 as pb

from services.registry.core.policies import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    NamedSlice,
    PromotionPolicy,
    ReadinessItem,
    Reduction,
    SliceScope,
    SlicesOf,
)

_COMPARISONS: Final = {
    Comparison.AT_LEAST: pb.GateRule.COMPARISON_AT_LEAST,
    Comparison.AT_MOST: pb.GateRule.COMPARISON_AT_MOST,
}
_COMPARISONS_FROM_PROTO: Final = {value: key for key, value in _COMPARISONS.items()}
_REDUCTIONS: Final = {
    Reduction.EVERY: pb.GateRule.SliceScope.REDUCTION_EVERY,
    Reduction.WORST: pb.GateRule.SliceScope.REDUCTION_WORST,
    Reduction.GAP: pb.GateRule.SliceScope.REDUCTION_GAP,
}
_REDUCTIONS_FROM_PROTO: Final = {value: key for key, value in _REDUCTIONS.items()}
_READINESS: Final = {
    ReadinessItem.MODEL_CARD: pb.READINESS_ITEM_MODEL_CARD,
    ReadinessItem.OWNER: pb.READINESS_ITEM_OWNER,
    ReadinessItem.RUNBOOK: pb.READINESS_ITEM_RUNBOOK,
    ReadinessItem.ROLLBACK_TARGET: pb.READINESS_ITEM_ROLLBACK_TARGET,
    ReadinessItem.BUDGET: pb.READINESS_ITEM_BUDGET,
}
_READINESS_FROM_PROTO: Final = {value: key for key, value in _READINESS.items()}


def policy_to_proto(policy: PromotionPolicy) -> pb.PromotionPolicy:
    """`policy` as it goes over the wire."""
    return pb.PromotionPolicy(
        rules=[rule_to_proto(rule) for rule in policy.rules],
        protected_aliases=policy.protected_aliases,
        readiness=[_READINESS[item] for item in policy.readiness],
        approvers=policy.approvers,
        requires_plan=policy.requires_plan,
    )


def policy_from_proto(policy: pb.PromotionPolicy) -> PromotionPolicy:
    """The policy that a caller wants."""
    return PromotionPolicy(
        rules=tuple(_rule_from_proto(rule) for rule in policy.rules),
        protected_aliases=tuple(policy.protected_aliases),
        readiness=tuple(_READINESS_FROM_PROTO[item] for item in policy.readiness),
        approvers=tuple(policy.approvers),
        requires_plan=policy.requires_plan,
    )


def readiness_to_proto(item: ReadinessItem) -> pb.ReadinessItem.ValueType:
    """`item` as it goes over the wire."""
    return _READINESS[item]


def rule_to_proto(rule: GateRule) -> pb.GateRule:
    """`rule` as it goes over the wire."""
    message = pb.GateRule(metric=rule.metric, comparison=_COMPARISONS[rule.comparison])
    if isinstance(rule.bar, FixedBar):
        message.value = rule.bar.value
    else:
        message.baseline_margin = rule.bar.margin
        message.noise_multiplier = rule.bar.noise_multiplier
    if rule.scope is not None:
        message.slices.CopyFrom(_scope_to_proto(rule.scope))
    return message


def _scope_to_proto(scope: SliceScope) -> pb.GateRule.SliceScope:
    message = pb.GateRule.SliceScope(column=scope.column, min_rows=scope.min_rows)
    if isinstance(scope, NamedSlice):
        message.value = scope.value
    else:
        message.reduction = _REDUCTIONS[scope.reduction]
    return message


def _rule_from_proto(rule: pb.GateRule) -> GateRule:
    bar = (
        FixedBar(rule.value)
        if rule.WhichOneof("bar") == "value"
        else BaselineBar(rule.baseline_margin, rule.noise_multiplier)
    )
    return GateRule(
        metric=rule.metric,
        comparison=_COMPARISONS_FROM_PROTO[rule.comparison],
        bar=bar,
        scope=_scope_from_proto(rule.slices) if rule.HasField("slices") else None,
    )


def _scope_from_proto(scope: pb.GateRule.SliceScope) -> SliceScope:
    if scope.WhichOneof("which") == "value":
        return NamedSlice(scope.column, scope.value, scope.min_rows)
    return SlicesOf(scope.column, _REDUCTIONS_FROM_PROTO[scope.reduction], scope.min_rows)
