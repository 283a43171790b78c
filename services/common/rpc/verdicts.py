"""Criteria and findings to and from their messages."""

from __future__ import annotations

from datetime import timedelta

from roundhouse.common.v1 import verdicts_pb2 as pb

from services.common.criteria import Criteria, Finding, Measure, PassRule, Verdict
from services.common.rpc.convert import from_duration


def criteria_of(message: pb.Criteria) -> Criteria:
    """The criteria that a message describes, with the defaults filled in."""
    given: dict[str, float] = {
        field: getattr(message, field)
        for field in (
            "alpha",
            "max_failed_rise",
            "max_slow_rise",
            "max_score_shift",
            "max_loss_rise",
        )
        if message.HasField(field)
    }
    return Criteria(
        **given,
        min_requests=message.min_requests,
        slow_after=timedelta(seconds=from_duration(message.slow_after))
        if message.HasField("slow_after")
        else None,
        loss=_measure(message.loss) if message.loss else Measure.LOG_LOSS,
        slices=tuple(message.slices),
        pass_rule=PassRule(pb.Criteria.PassRule.Name(message.pass_rule).removeprefix("PASS_RULE_"))
        if message.pass_rule
        else PassRule.NO_HARM_SEEN,
    )


def criteria_message(criteria: Criteria) -> pb.Criteria:
    """`criteria` as they go over the wire."""
    message = pb.Criteria(
        alpha=criteria.alpha,
        min_requests=criteria.min_requests,
        max_failed_rise=criteria.max_failed_rise,
        max_slow_rise=criteria.max_slow_rise,
        max_score_shift=criteria.max_score_shift,
        loss=pb.Measure.Value(f"MEASURE_{criteria.loss}"),
        max_loss_rise=criteria.max_loss_rise,
        slices=criteria.slices,
        pass_rule=pb.Criteria.PassRule.Value(f"PASS_RULE_{criteria.pass_rule}"),
    )
    if criteria.slow_after is not None:
        message.slow_after.FromTimedelta(criteria.slow_after)
    return message


def finding_of(message: pb.Finding) -> Finding:
    """The finding that a message tells of."""
    return Finding(
        measure=_measure(message.measure),
        slice_feature=message.slice_feature,
        slice_value=message.slice_value,
        candidate_n=message.candidate_n,
        champion_n=message.champion_n,
        candidate_value=message.candidate_value,
        champion_value=message.champion_value,
        effect=message.effect,
        lower=message.lower if message.HasField("lower") else None,
        upper=message.upper if message.HasField("upper") else None,
        tolerance=message.tolerance,
        alpha=message.alpha,
        verdict=Verdict(pb.EvidenceVerdict.Name(message.verdict).removeprefix("EVIDENCE_VERDICT_")),
        reason=message.reason,
    )


def finding_message(finding: Finding) -> pb.Finding:
    """`finding` as it goes over the wire."""
    return pb.Finding(
        measure=pb.Measure.Value(f"MEASURE_{finding.measure}"),
        slice_feature=finding.slice_feature,
        slice_value=finding.slice_value,
        candidate_n=finding.candidate_n,
        champion_n=finding.champion_n,
        candidate_value=finding.candidate_value,
        champion_value=finding.champion_value,
        effect=finding.effect,
        lower=finding.lower,
        upper=finding.upper,
        tolerance=finding.tolerance,
        alpha=finding.alpha,
        verdict=pb.EvidenceVerdict.Value(f"EVIDENCE_VERDICT_{finding.verdict}"),
        reason=finding.reason,
    )


def _measure(value: pb.Measure.ValueType) -> Measure:
    return Measure(pb.Measure.Name(value).removeprefix("MEASURE_"))
