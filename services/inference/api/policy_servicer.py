"""`roundhouse.inference.v1.PolicyService`."""

from __future__ import annotations

import uuid
from typing import Any, Final, TypeAlias

import grpc
from roundhouse.inference.v1 import endpoint_pb2 as endpoint_pb
from roundhouse.inference.v1 import policy_pb2 as pb
from roundhouse.inference.v1 import policy_service_pb2 as service_pb
from roundhouse.inference.v1 import policy_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import to_timestamp
from services.common.rpc.inputs import check_settable, page_query
from services.inference.api.convert import endpoint_message
from services.inference.api.requests import Transactions
from services.inference.core.endpoints import ENDPOINT_NAME, Endpoint
from services.inference.core.hosting import ModelHost
from services.inference.core.policies import (
    ClassThreshold,
    CostedAction,
    CostRule,
    PolicyMove,
    PolicyVersion,
    Rule,
    ThresholdRule,
)
from services.inference.core.ports import InferenceTx
from services.inference.core.reconciler import Reconciler
from services.inference.core.use_cases import policies as use_cases
from services.inference.core.use_cases.endpoints import get_endpoint
from services.inference.core.use_cases.policies import NewPolicyVersion, Pointing

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE: Final = ("author", "purpose", "thresholds", "costs")


class PolicyServicer(pb_grpc.PolicyServiceServicer):
    """Decision policies over gRPC.

    Args:
        transactions: The service's.
        host: Knows what is loaded.
        reconciler: Serves what the rows say.
    """

    def __init__(self, transactions: Transactions, host: ModelHost, reconciler: Reconciler) -> None:
        self._transactions = transactions
        self._host = host
        self._reconciler = reconciler

    async def CreatePolicyVersion(
        self, request: service_pb.CreatePolicyVersionRequest, _: _Context
    ) -> pb.PolicyVersion:
        """The policy's next version."""
        given = request.policy_version
        check_settable(given, "policy_version", _SETTABLE)
        new = NewPolicyVersion(
            policy=request.parent,
            uid=str(uuid.uuid5(uuid.UUID(request.request_id), "policy_version")),
            author=given.author,
            purpose=given.purpose,
            rule=rule_of(given),
        )
        now = self._transactions.now()
        return await self._transactions.mutate(
            request,
            pb.PolicyVersion,
            lambda tx: version_message(use_cases.create_policy_version(tx, new, now)),
        )

    async def GetPolicyVersion(
        self, request: service_pb.GetPolicyVersionRequest, _: _Context
    ) -> pb.PolicyVersion:
        """The version."""
        return version_message(
            await self._transactions.read(lambda tx: use_cases.get_policy_version(tx, request.name))
        )

    async def ListPolicyVersions(
        self, request: service_pb.ListPolicyVersionsRequest, _: _Context
    ) -> service_pb.ListPolicyVersionsResponse:
        """One page."""
        query = page_query(request)
        page = await self._transactions.read(lambda tx: tx.page_policy_versions(query))
        return service_pb.ListPolicyVersionsResponse(
            policy_versions=page.map(version_message), next_page_token=page.next_page_token
        )

    async def PointEndpoint(
        self, request: service_pb.PointEndpointRequest, _: _Context
    ) -> endpoint_pb.Endpoint:
        """The endpoint; this process decides by the version when the call returns."""
        pointing = Pointing(request.policy_version, request.actor, request.purpose)
        now = self._transactions.now()

        def work(tx: InferenceTx) -> endpoint_pb.Endpoint:
            endpoint = get_endpoint(tx, request.name)
            endpoint.meta.check_etag(request.etag)
            pointed = use_cases.point_endpoint(tx, endpoint, pointing, now)
            self._host.check_classes(pointed, pointed.stable.digest)
            return self._message(pointed)

        answer = await self._transactions.mutate(request, endpoint_pb.Endpoint, work)
        await self._reconciler.refresh()
        return answer

    async def ListPolicyMoves(
        self, request: service_pb.ListPolicyMovesRequest, _: _Context
    ) -> service_pb.ListPolicyMovesResponse:
        """One page."""
        query = page_query(request, ENDPOINT_NAME)
        page = await self._transactions.read(lambda tx: tx.page_policy_moves(query))
        return service_pb.ListPolicyMovesResponse(
            policy_moves=page.map(move_message), next_page_token=page.next_page_token
        )

    def _message(self, endpoint: Endpoint) -> endpoint_pb.Endpoint:
        return endpoint_message(
            endpoint,
            lambda variant: self._host.load_state(endpoint, variant.digest) is True,
            lambda variant: self._host.memory_bytes(endpoint, variant.digest),
        )


def rule_of(given: pb.PolicyVersion) -> Rule:
    """The rule that a request describes.

    Raises:
        InvalidPolicy: It contradicts itself.
    """
    if given.WhichOneof("rule") == "costs":
        return CostRule(
            tuple(
                CostedAction(
                    action.name,
                    tuple(action.costs),
                    action.label if action.HasField("label") else None,
                )
                for action in given.costs.actions
            )
        )
    return ThresholdRule(
        tuple(
            ClassThreshold(each.label, each.threshold, each.action)
            for each in given.thresholds.classes
        ),
        given.thresholds.abstain_action,
    )


def version_message(version: PolicyVersion) -> pb.PolicyVersion:
    """`version` as it goes over the wire."""
    message = pb.PolicyVersion(
        name=version.name,
        uid=version.meta.uid,
        create_time=to_timestamp(version.meta.create_time),
        author=version.author,
        purpose=version.purpose,
    )
    match version.rule:
        case CostRule(actions):
            for action in actions:
                message.costs.actions.add(name=action.name, costs=action.costs, label=action.label)
        case ThresholdRule(classes, abstain_action):
            message.thresholds.abstain_action = abstain_action
            for each in classes:
                message.thresholds.classes.add(
                    label=each.label, threshold=each.threshold, action=each.action
                )
    return message


def move_message(move: PolicyMove) -> pb.PolicyMove:
    """`move` as it goes over the wire."""
    return pb.PolicyMove(
        name=move.meta.name,
        create_time=to_timestamp(move.meta.create_time),
        before=move.before,
        after=move.after,
        actor=move.actor,
        purpose=move.purpose,
    )
