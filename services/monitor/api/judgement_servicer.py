"""`roundhouse.monitor.v1.JudgementService`."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from roundhouse.monitor.v1 import judgement_service_pb2 as service_pb
from roundhouse.monitor.v1 import judgement_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import from_timestamp, to_timestamp
from services.monitor.core.explanation import Cause
from services.monitor.core.names import ENDPOINT, VERSION, checked
from services.monitor.core.ports import Judge, ServingExplainer

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class JudgementServicer(pb_grpc.JudgementServiceServicer):
    """Verdicts on rollouts, and explanations, over gRPC.

    Args:
        judge: Compares versions.
        explainer: Walks back from what serves.
    """

    def __init__(self, judge: Judge, explainer: ServingExplainer) -> None:
        self._judge = judge
        self._explainer = explainer

    async def JudgeRollout(
        self, request: service_pb.JudgeRolloutRequest, _: _Context
    ) -> service_pb.JudgeRolloutResponse:
        """What the evidence says so far."""
        found = await self._judge.judge(
            checked(ENDPOINT, request.endpoint, "endpoint"),
            checked(VERSION, request.candidate, "candidate"),
            checked(VERSION, request.champion, "champion"),
            from_timestamp(request.since_time),
            request.min_outcomes,
        )
        verdict = service_pb.JudgeRolloutResponse.Verdict.Value(f"VERDICT_{found.verdict.value}")
        return service_pb.JudgeRolloutResponse(
            verdict=verdict, reason=found.reason, numbers=found.numbers
        )

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
