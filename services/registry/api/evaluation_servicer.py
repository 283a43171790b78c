"""`roundhouse.registry.v1.EvaluationService`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from roundhouse.registry.v1 import evaluation_pb2 as pb
from roundhouse.registry.v1 import evaluation_service_pb2 as service_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import from_timestamp
from services.common.rpc.inputs import check_settable, page_query
from services.registry.api.convert.evidence import (
    approval_to_proto,
    decision_from_proto,
    evaluation_to_proto,
    gate_result_to_proto,
    scores_from_proto,
    seen_from_proto,
    touch_to_proto,
)
from services.registry.api.transactions import Transactions
from services.registry.core.names import PROJECT
from services.registry.core.ports import RegistryLists, RegistryTx
from services.registry.core.use_cases import approvals, evaluations, promotion
from services.registry.core.use_cases.lookup import (
    the_approval,
    the_evaluation,
    the_gate_result,
    the_model,
    the_version,
)

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_ANY_VERSION: Final = "/versions/-"
_SETTABLE_OF_EVALUATION: Final = (
    "snapshot",
    "split",
    "split_digest",
    "rows",
    "metrics",
    "slices",
    "evaluator",
    "purpose",
    "standard_errors",
    "reliability",
    "uncalibrated",
)


_SETTABLE_OF_APPROVAL: Final = ("gate_result", "requester", "expire_time", "plan_digest")


class EvaluationServicer(pb_grpc.EvaluationServiceServicer):
    """Evidence and decisions over gRPC.

    Args:
        transactions: The registry's.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def RecordEvaluation(
        self, request: service_pb.RecordEvaluationRequest, _: _Context
    ) -> pb.Evaluation:
        """The scores, kept for good."""
        check_settable(request.evaluation, "evaluation", _SETTABLE_OF_EVALUATION)
        return await self._transactions.mutate(
            request,
            pb.Evaluation,
            lambda tx: evaluation_to_proto(
                evaluations.record_evaluation(
                    tx, request.parent, scores_from_proto(request.evaluation)
                )
            ),
        )

    async def GetEvaluation(
        self, request: service_pb.GetEvaluationRequest, _: _Context
    ) -> pb.Evaluation:
        """One evaluation."""
        return await self._transactions.read(
            lambda tx: evaluation_to_proto(the_evaluation(tx, request.name))
        )

    async def ListEvaluations(
        self, request: service_pb.ListEvaluationsRequest, _: _Context
    ) -> service_pb.ListEvaluationsResponse:
        """A page of a version's evaluations."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListEvaluationsResponse:
            the_version(tx, request.parent, "parent")
            page = lists.evaluations(query)
            return service_pb.ListEvaluationsResponse(
                evaluations=[evaluation_to_proto(evaluation) for evaluation in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)

    async def ListTestSetTouches(
        self, request: service_pb.ListTestSetTouchesRequest, _: _Context
    ) -> service_pb.ListTestSetTouchesResponse:
        """A page of a project's ledger."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.touches(query))
        return service_pb.ListTestSetTouchesResponse(
            touches=[touch_to_proto(touch) for touch in page.items],
            next_page_token=page.next_page_token,
        )

    async def EvaluateGate(
        self, request: service_pb.EvaluateGateRequest, _: _Context
    ) -> pb.GateResult:
        """What the gate says, kept for good."""
        return await self._transactions.mutate(
            request,
            pb.GateResult,
            lambda tx: gate_result_to_proto(
                promotion.evaluate_gate(tx, request.evaluation, request.baseline_evaluation)
            ),
        )

    async def GetGateResult(
        self, request: service_pb.GetGateResultRequest, _: _Context
    ) -> pb.GateResult:
        """One gate result."""
        return await self._transactions.read(
            lambda tx: gate_result_to_proto(the_gate_result(tx, request.name))
        )

    async def ListGateResults(
        self, request: service_pb.ListGateResultsRequest, _: _Context
    ) -> service_pb.ListGateResultsResponse:
        """A page of a version's gate results."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListGateResultsResponse:
            the_version(tx, request.parent, "parent")
            page = lists.gate_results(query)
            return service_pb.ListGateResultsResponse(
                gate_results=[gate_result_to_proto(result) for result in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)

    async def RequestApproval(
        self, request: service_pb.RequestApprovalRequest, _: _Context
    ) -> pb.Approval:
        """A request that waits for a person."""
        wanted = request.approval
        check_settable(wanted, "approval", _SETTABLE_OF_APPROVAL)
        expire_time = from_timestamp(wanted.expire_time) if wanted.HasField("expire_time") else None
        return await self._transactions.mutate(
            request,
            pb.Approval,
            lambda tx: approval_to_proto(
                approvals.request_approval(
                    tx,
                    request.parent,
                    gate_result=wanted.gate_result,
                    requester=wanted.requester,
                    expire_time=expire_time,
                    plan_digest=wanted.plan_digest,
                ),
                tx.now,
            ),
        )

    async def DecideApproval(
        self, request: service_pb.DecideApprovalRequest, _: _Context
    ) -> pb.Approval:
        """The approval with its decision."""
        return await self._transactions.mutate(
            request,
            pb.Approval,
            lambda tx: approval_to_proto(
                approvals.decide_approval(
                    tx,
                    request.name,
                    decision_from_proto(request.decision),
                    approver=request.approver,
                    comment=request.comment,
                    etag=request.etag,
                    seen=seen_from_proto(request),
                ),
                tx.now,
            ),
        )

    async def CheckApproval(
        self, request: service_pb.CheckApprovalRequest, _: _Context
    ) -> pb.Approval:
        """The approval, if it counts."""
        return await self._transactions.read(
            lambda tx: approval_to_proto(
                approvals.check_approval(
                    tx,
                    request.name,
                    version_name=request.version,
                    artifact_digest=request.artifact_digest,
                    plan_digest=request.plan_digest,
                ),
                tx.now,
            )
        )

    async def GetApproval(self, request: service_pb.GetApprovalRequest, _: _Context) -> pb.Approval:
        """One approval."""
        return await self._transactions.read(
            lambda tx: approval_to_proto(the_approval(tx, request.name), tx.now)
        )

    async def ListApprovals(
        self, request: service_pb.ListApprovalsRequest, _: _Context
    ) -> service_pb.ListApprovalsResponse:
        """A page of the approvals of a version, or of all versions of a model."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListApprovalsResponse:
            if request.parent.endswith(_ANY_VERSION):
                the_model(tx, request.parent.removesuffix(_ANY_VERSION), "parent")
            else:
                the_version(tx, request.parent, "parent")
            page = lists.approvals(query)
            return service_pb.ListApprovalsResponse(
                approvals=[approval_to_proto(approval, tx.now) for approval in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)
