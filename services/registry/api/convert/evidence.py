"""Evaluations, gate results and approvals to and from proto messages."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from roundhouse.registry.v1 import evaluation_pb2 as pb
from roundhouse.registry.v1 import evaluation_service_pb2 as service_pb

from services.common.rpc.convert import to_timestamp
from services.registry.api.convert.models import rule_to_proto
from services.registry.core.approvals import Approval, ApprovalState, Decision
from services.registry.core.evaluations import Evaluation, Scores, SliceScores
from services.registry.core.gates import GateResult, RuleVerdict

_STATES: Final = {
    ApprovalState.PENDING: pb.Approval.STATE_PENDING,
    ApprovalState.APPROVED: pb.Approval.STATE_APPROVED,
    ApprovalState.REJECTED: pb.Approval.STATE_REJECTED,
    ApprovalState.EXPIRED: pb.Approval.STATE_EXPIRED,
}
_DECISIONS: Final = {
    service_pb.DecideApprovalRequest.DECISION_APPROVE: Decision.APPROVE,
    service_pb.DecideApprovalRequest.DECISION_REJECT: Decision.REJECT,
}


def evaluation_to_proto(evaluation: Evaluation) -> pb.Evaluation:
    """`evaluation` as it goes over the wire."""
    scores = evaluation.scores
    return pb.Evaluation(
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
                column=part.column, value=part.value, rows=part.rows, metrics=part.metrics
            )
            for part in scores.slices
        ],
        evaluator=scores.evaluator,
    )


def scores_from_proto(evaluation: pb.Evaluation) -> Scores:
    """The scores that a caller has measured."""
    return Scores(
        snapshot=evaluation.snapshot,
        split=evaluation.split,
        split_digest=evaluation.split_digest,
        rows=evaluation.rows,
        metrics=dict(evaluation.metrics),
        slices=tuple(
            SliceScores(part.column, part.value, part.rows, dict(part.metrics))
            for part in evaluation.slices
        ),
        evaluator=evaluation.evaluator,
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
    return pb.GateResult.RuleVerdict(
        rule=rule_to_proto(verdict.rule),
        passed=verdict.passed,
        value=verdict.value,
        bar=verdict.bar,
        explanation=verdict.explanation,
    )


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
    )


def decision_from_proto(
    decision: service_pb.DecideApprovalRequest.Decision.ValueType,
) -> Decision:
    """What the approver decides."""
    return _DECISIONS[decision]
