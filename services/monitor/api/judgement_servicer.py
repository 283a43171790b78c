"""`roundhouse.monitor.v1.JudgementService`."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from roundhouse.monitor.v1 import judgement_service_pb2 as service_pb
from roundhouse.monitor.v1 import judgement_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import from_timestamp, to_timestamp
from services.common.rpc.verdicts import criteria_of, finding_message
from services.monitor.api.transactions import Transactions
from services.monitor.core.explanation import Cause
from services.monitor.core.names import ENDPOINT, VERSION, checked
from services.monitor.core.ports import Judge, RolloutCase, ServingExplainer
from services.monitor.core.use_cases.restraints import rollout_hold

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class JudgementServicer(pb_grpc.JudgementServiceServicer):
    """Verdicts on rollouts, and explanations, over gRPC.

    Args:
        judge: Compares versions.
        explainer: Walks back from what serves.
        transactions: The monitor's.
    """

    def __init__(
        self, judge: Judge, explainer: ServingExplainer, transactions: Transactions
    ) -> None:
        self._judge = judge
        self._explainer = explainer
        self._transactions = transactions

    async def JudgeRollout(
        self, request: service_pb.JudgeRolloutRequest, _: _Context
    ) -> service_pb.JudgeRolloutResponse:
        """What the evidence says so far."""
        found = await self._judge.judge(
            RolloutCase(
                endpoint=checked(ENDPOINT, request.endpoint, "endpoint"),
                candidate=checked(VERSION, request.candidate, "candidate"),
                champion=checked(VERSION, request.champion, "champion"),
                since=from_timestamp(request.since_time),
                criteria=criteria_of(request.criteria),
                min_outcomes=request.min_outcomes,
                alone=request.alone,
            )
        )
        verdict = service_pb.JudgeRolloutResponse.Verdict.Value(f"VERDICT_{found.verdict.value}")
        return service_pb.JudgeRolloutResponse(
            verdict=verdict,
            reason=found.reason,
            numbers=found.numbers,
            findings=[finding_message(finding) for finding in found.findings],
        )

    async def GetRolloutHold(
        self, request: service_pb.GetRolloutHoldRequest, _: _Context
    ) -> service_pb.GetRolloutHoldResponse:
        """Why rollouts have to wait, if they have to."""
        endpoint = checked(ENDPOINT, request.endpoint, "endpoint")
        reason = await self._transactions.read(lambda tx: rollout_hold(tx, endpoint))
        return service_pb.GetRolloutHoldResponse(reason=reason)

    async def ExplainServing(
        self, request: service_pb.ExplainServingRequest, _: _Context
    ) -> service_pb.ExplainServingResponse:
        """The tree of causes below the endpoint."""
        root = await self._explainer.explain(checked(ENDPOINT, request.endpoint, "endpoint"))
        return service_pb.ExplainServingResponse(root=_to_proto(root))


def _to_proto(cause: Cause) -> service_pb.Cause:
    return service_pb.Cause(
        kind=cause.kind.value,
        name=cause.name,
        summary=cause.summary,
        time=None if cause.time is None else to_timestamp(cause.time),
        causes=[_to_proto(each) for each in cause.causes],
    )
