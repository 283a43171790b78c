"""The registry over gRPC, as the loop needs it."""

from __future__ import annotations

import grpc
from roundhouse.registry.v1 import evaluation_pb2 as evaluation_pb
from roundhouse.registry.v1 import evaluation_service_pb2 as service_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as service_grpc

from services.common.rpc.remote import remote_errors
from services.monitor.adapters.refusals import refusals
from services.monitor.core.loop.ports import GateVerdict, Outcome, Progress

_APPROVALS = {
    evaluation_pb.Approval.STATE_PENDING: Outcome.UNDER_WAY,
    evaluation_pb.Approval.STATE_APPROVED: Outcome.SUCCEEDED,
    evaluation_pb.Approval.STATE_REJECTED: Outcome.REFUSED,
    evaluation_pb.Approval.STATE_EXPIRED: Outcome.REFUSED,
}


class RegistryClient:
    """Implements `RegistryPort`.

    Args:
        channel: To the registry.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._evaluations = service_grpc.EvaluationServiceStub(channel)

    async def evaluate_gate(self, evaluation: str, baseline: str, request_id: str) -> GateVerdict:
        """See `RegistryPort`."""
        request = service_pb.EvaluateGateRequest(
            evaluation=evaluation, baseline_evaluation=baseline, request_id=request_id
        )
        with refusals("registry"), remote_errors("registry"):
            result = await self._evaluations.EvaluateGate(request)
        return GateVerdict(
            gate_result=result.name,
            passed=result.passed,
            explanation=" ".join(verdict.explanation for verdict in result.verdicts),
        )

    async def request_approval(
        self, version: str, gate_result: str, *, plan_digest: str, requester: str, request_id: str
    ) -> str:
        """See `RegistryPort`."""
        request = service_pb.RequestApprovalRequest(
            parent=version,
            approval=evaluation_pb.Approval(
                gate_result=gate_result, requester=requester, plan_digest=plan_digest
            ),
            request_id=request_id,
        )
        with refusals("registry"), remote_errors("registry"):
            approval = await self._evaluations.RequestApproval(request)
        return approval.name

    async def approval(self, name: str) -> Progress:
        """See `RegistryPort`."""
        with refusals("registry"), remote_errors("registry"):
            approval = await self._evaluations.GetApproval(service_pb.GetApprovalRequest(name=name))
        state = evaluation_pb.Approval.State.Name(approval.state).removeprefix("STATE_")
        words = f"The approval is {state}"
        if approval.approver:
            words += f", decided by {approval.approver}: {approval.comment or 'no comment'}"
        return Progress(_APPROVALS[approval.state], f"{words}.")
