"""Evaluations, gate results and approvals to and from proto messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from roundhouse.registry.v1 import evaluation_pb2 as pb
from roundhouse.registry.v1 import evaluation_service_pb2 as service_pb

from services.common.rpc.convert import to_timestamp
from services.registry.api.convert.policies import readiness_to_proto, rule_to_proto
from services.registry.core.approvals import Approval, ApprovalState, Decision, Seen
from services.registry.core.evaluations import (
    Evaluation,
    Purpose,
    ReliabilityBin,
    Scores,
    SliceScores,
    Uncalibrated,
)
from services.registry.core.gates import GateResult, RuleVerdict
from services.registry.core.ledger import Touch
from services.registry.core.policies import GateRule

_STATES: Final = {
    ApprovalState.PENDING: pb.Approval.STATE_PENDING,
    ApprovalState.APPROVED: pb.Approval.STATE_APPROVED,
    ApprovalState.REJECTED: pb.Approval.STATE_REJECTED,
    ApprovalState.EXPIRED: pb.Approval.STATE_EXPIRED,
}
_PURPOSES: Final = {
    Purpose.TEST: pb.Evaluation.PURPOSE_TEST,
    Purpose.SELECTION: pb.Evaluation.PURPOSE_SELECTION,
    Purpose.BASELINE: pb.Evaluation.PURPOSE_BASELINE,
    Purpose.MONITORING: pb.Evaluation.PURPOSE_MONITORING,
}
_PURPOSES_FROM_PROTO: Final = {value: key for key, value in _PURPOSES.items()}
_DECISIONS: Final = {
    service_pb.DecideApprovalRequest.DECISION_APPROVE: Decision.APPROVE,
    service_pb.DecideApprovalRequest.DECISION_REJECT: Decision.REJECT,
}


def evaluation_to_proto(evaluation: Evaluation) -> pb.Evaluation:
    """`evaluation` as it goes over the wire."""
    scores = evaluation.scores
    message = pb.Evaluation(
        name=evaluation.meta.name,
        uid=evaluation.meta.uid,
        create_time=to_timestamp(evaluation.meta.create_time),
        snapshot=scores.snapshot,
        split=scores.split,
        split_digest=scores.split_digest,
        rows=scores.rows,
        metrics=scores.metrics,
        slices=[
            pb.Evaluation.Slice(
                column=part.column,
                value=part.value,
                rows=part.rows,
                metrics=part.metrics,
                standard_errors=part.standard_errors,
            )
            for part in scores.slices
        ],
        evaluator=scores.evaluator,
        purpose=_PURPOSES[scores.purpose],
        standard_errors=scores.standard_errors,
        reliability=_bins_to_proto(scores.reliability),
    )
    if scores.uncalibrated is not None:
        message.uncalibrated.CopyFrom(
            pb.Evaluation.Uncalibrated(
                metrics=scores.uncalibrated.metrics,
                reliability=_bins_to_proto(scores.uncalibrated.reliability),
            )
        )
    return message


def scores_from_proto(evaluation: pb.Evaluation) -> Scores:
    """The scores that a caller has measured."""
    return Scores(
        snapshot=evaluation.snapshot,
        split=evaluation.split,
        split_digest=evaluation.split_digest,
        rows=evaluation.rows,
        metrics=dict(evaluation.metrics),
        slices=tuple(
            SliceScores(
                part.column, part.value, part.rows, dict(part.metrics), dict(part.standard_errors)
            )
            for part in evaluation.slices
        ),
        evaluator=evaluation.evaluator,
        purpose=_PURPOSES_FROM_PROTO.get(evaluation.purpose, Purpose.of_split(evaluation.split)),
        standard_errors=dict(evaluation.standard_errors),
        reliability=_bins_from_proto(evaluation.reliability),
        uncalibrated=(
            Uncalibrated(
                dict(evaluation.uncalibrated.metrics),
                _bins_from_proto(evaluation.uncalibrated.reliability),
            )
            if evaluation.HasField("uncalibrated")
            else None
        ),
    )


def _bins_to_proto(bins: Iterable[ReliabilityBin]) -> list[pb.Evaluation.ReliabilityBin]:
    return [
        pb.Evaluation.ReliabilityBin(
            lower=each.lower,
            upper=each.upper,
            rows=each.rows,
            mean_score=each.mean_score,
            frequency=each.frequency,
        )
        for each in bins
    ]


def _bins_from_proto(bins: Iterable[pb.Evaluation.ReliabilityBin]) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(each.lower, each.upper, each.rows, each.mean_score, each.frequency)
        for each in bins
    )


def touch_to_proto(touch: Touch) -> pb.TestSetTouch:
    """`touch` as it goes over the wire."""
    return pb.TestSetTouch(
        snapshot=touch.snapshot,
        data_digest=touch.data_digest,
        split=touch.split,
        split_digest=touch.split_digest,
        purpose=_PURPOSES[touch.purpose],
        version=touch.version,
        training_job=touch.training_job,
        lineage=touch.lineage,
        evaluation=touch.evaluation,
        evaluator=touch.evaluator,
        time=to_timestamp(touch.time),
    )


def gate_result_to_proto(result: GateResult) -> pb.GateResult:
    """`result` as it goes over the wire."""
    return pb.GateResult(
        name=result.meta.name,
        uid=result.meta.uid,
        create_time=to_timestamp(result.meta.create_time),
        evaluation=result.evaluation,
        baseline_evaluation=result.baseline_evaluation,
        verdicts=[_verdict_to_proto(verdict) for verdict in result.verdicts],
        passed=result.passed,
        evidence_digest=result.evidence_digest,
        artifact_digest=result.artifact_digest,
    )


def _verdict_to_proto(verdict: RuleVerdict) -> pb.GateResult.RuleVerdict:
    message = pb.GateResult.RuleVerdict(
        passed=verdict.passed,
        value=verdict.value,
        bar=verdict.bar,
        explanation=verdict.explanation,
        subject=verdict.rule.subject,
    )
    if isinstance(verdict.rule, GateRule):
        message.rule.CopyFrom(rule_to_proto(verdict.rule))
    else:
        message.readiness = readiness_to_proto(verdict.rule)
    return message


def approval_to_proto(approval: Approval, now: datetime) -> pb.Approval:
    """`approval` as it stands at `now`."""
    meta = approval.meta
    return pb.Approval(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        state=_STATES[approval.state_at(now)],
        artifact_digest=approval.artifact_digest,
        gate_result=approval.gate_result,
        evidence_digest=approval.evidence_digest,
        requester=approval.requester,
        approver=approval.approver,
        comment=approval.comment,
        expire_time=to_timestamp(approval.expire_time),
        plan_digest=approval.plan_digest,
    )


def seen_from_proto(request: service_pb.DecideApprovalRequest) -> Seen:
    """What the approver says to have looked at."""
    return Seen(request.artifact_digest, request.evidence_digest, request.plan_digest)


def decision_from_proto(
    decision: service_pb.DecideApprovalRequest.Decision.ValueType,
) -> Decision:
    """What the approver decides."""
    return _DECISIONS[decision]
