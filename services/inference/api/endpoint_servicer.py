"""`roundhouse.inference.v1.EndpointService`."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.inference.v1 import endpoint_pb2 as pb
from roundhouse.inference.v1 import endpoint_service_pb2 as service_pb
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as pb_grpc

from services.common.errors import FieldViolation, InvalidRequest, ServiceError
from services.common.resources import Meta
from services.common.rpc.convert import from_duration
from services.common.rpc.inputs import check_settable, masked, page_query
from services.inference.api.convert import (
    endpoint_message,
    observation_rules_of,
    policy_of,
    runtime_of,
)
from services.inference.api.requests import Transactions
from services.inference.core.endpoints import Endpoint, model_of
from services.inference.core.errors import InvalidFallback, RuntimeNotConfigured
from services.inference.core.fallbacks import DefaultDecision, Fallback
from services.inference.core.hosting import ModelHost
from services.inference.core.plans import AT_ONCE, plan_digest
from services.inference.core.policies import PolicyReference
from services.inference.core.ports import InferenceTx, VersionCatalog
from services.inference.core.reconciler import Reconciler
from services.inference.core.routing import WHOLE_BP, Variant
from services.inference.core.use_cases import endpoints as use_cases
from services.inference.core.use_cases.endpoints import EndpointChanges
from services.inference.core.use_cases.policies import reference_to

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE: Final = (
    "labels",
    "initial_version",
    "initial_approval",
    "runtime",
    "decision_policy",
    "alias",
    "log_observations",
    "policy_version",
    "observation_rules",
    "forbid_pins",
)
_CHANGED_UNASKED: Final = ("labels", "decision_policy", "log_observations")
_CHANGEABLE: Final = (*_CHANGED_UNASKED, "observation_rules", "forbid_pins")


class EndpointServicer(pb_grpc.EndpointServiceServicer):
    """Endpoints over gRPC.

    Args:
        transactions: The service's.
        catalog: The registry.
        host: Loads versions.
        reconciler: Serves what the rows say.
    """

    def __init__(
        self,
        transactions: Transactions,
        catalog: VersionCatalog,
        host: ModelHost,
        reconciler: Reconciler,
    ) -> None:
        self._transactions = transactions
        self._catalog = catalog
        self._host = host
        self._reconciler = reconciler

    async def CreateEndpoint(
        self, request: service_pb.CreateEndpointRequest, _: _Context
    ) -> pb.Endpoint:
        """The endpoint, once it serves."""
        check_settable(request.endpoint, "endpoint", _SETTABLE)
        endpoint = self._new_endpoint(request)
        if not self._host.offers(endpoint.runtime):
            raise RuntimeNotConfigured(endpoint.runtime)
        known, reference = await self._transactions.read(
            lambda tx: (tx.endpoints.get(endpoint.name), _reference(tx, request, endpoint.name))
        )
        endpoint = replace(endpoint, points_at=reference)
        if known is not None:
            # A repeat, or a name that is taken: either way nothing is to be loaded.
            return await self._stored(request, endpoint)
        version = endpoint.initial_version
        digest = await self._catalog.digest_of(version)
        await self._catalog.check_approval(
            endpoint.initial_approval, version, digest=digest, plan_digest=plan_digest(AT_ONCE)
        )
        await self._catalog.pin(endpoint.name, version)
        async with self._host.on_trial(endpoint.runtime, version, digest):
            self._host.check_rules(endpoint.runtime, digest, endpoint.observation_rules)
            created = replace(self._new_endpoint(request, digest), points_at=reference)
            self._host.check_classes(created, digest)
            answer = await self._stored(request, created)
            await self._reconciler.refresh()
        await self._host.loaded(created)
        return answer

    async def GetEndpoint(self, request: service_pb.GetEndpointRequest, _: _Context) -> pb.Endpoint:
        """The endpoint as it is served now."""
        return self._message(
            await self._transactions.read(lambda tx: use_cases.get_endpoint(tx, request.name))
        )

    async def ListEndpoints(
        self, request: service_pb.ListEndpointsRequest, _: _Context
    ) -> service_pb.ListEndpointsResponse:
        """One page."""
        page = await self._transactions.read(lambda tx: tx.page_endpoints(page_query(request)))
        return service_pb.ListEndpointsResponse(
            endpoints=page.map(self._message), next_page_token=page.next_page_token
        )

    async def UpdateEndpoint(
        self, request: service_pb.UpdateEndpointRequest, _: _Context
    ) -> pb.Endpoint:
        """The endpoint, changed."""
        given = request.endpoint
        fields = masked(request.update_mask.paths or _CHANGED_UNASKED, _CHANGEABLE)
        rules = None
        if "observation_rules" in fields:
            rules = observation_rules_of(given.observation_rules)
            held = await self._transactions.read(lambda tx: use_cases.get_endpoint(tx, given.name))
            self._host.check_rules(held.runtime, held.stable.digest, rules)
        changes = EndpointChanges(
            labels=dict(given.labels) if "labels" in fields else None,
            policy=policy_of(given.decision_policy) if "decision_policy" in fields else None,
            logs_observations=given.log_observations if "log_observations" in fields else None,
            observation_rules=rules,
            forbids_pins=given.forbid_pins if "forbid_pins" in fields else None,
        )
        now = self._transactions.now()

        def work(tx: InferenceTx) -> pb.Endpoint:
            updated = use_cases.update_endpoint(tx, given.name, changes, given.etag, now)
            self._host.check_classes(updated, updated.stable.digest)
            return self._message(updated)

        answer = await self._transactions.mutate(request, pb.Endpoint, work)
        await self._reconciler.refresh()
        return answer

    async def SetFallback(self, request: service_pb.SetFallbackRequest, _: _Context) -> pb.Endpoint:
        """The endpoint with its fallback, which is loaded."""
        endpoint = await self._transactions.read(
            lambda tx: use_cases.get_endpoint(tx, request.name)
        )
        async with AsyncExitStack() as stack:
            fallback = None
            if request.HasField("fallback"):
                fallback = await self._fallback(request.fallback, endpoint, stack)
                changed = replace(endpoint, fallback=fallback)
                self._host.check_classes(changed, endpoint.stable.digest)
            now = self._transactions.now()
            answer = await self._transactions.mutate(
                request,
                pb.Endpoint,
                lambda tx: self._message(
                    use_cases.set_fallback(tx, request.name, fallback, request.etag, now)
                ),
            )
            await self._reconciler.refresh()
        return answer

    async def _fallback(
        self, given: pb.Fallback, endpoint: Endpoint, stack: AsyncExitStack
    ) -> Fallback:
        """What the request asks for; a version stays loaded until `stack` ends."""
        budget_s = from_duration(given.time_budget) if given.HasField("time_budget") else None
        if given.WhichOneof("answer") == "decision":
            asked = given.decision
            decision = DefaultDecision(asked.label, asked.action, asked.probability)
            return Fallback(None, decision, budget_s)
        version = given.version.version
        if model_of(version) != model_of(endpoint.stable.version):
            raise InvalidFallback("version.version", "is of another model than the endpoint's")
        digest = await self._catalog.digest_of(version)
        await self._catalog.check_approval(
            given.version.approval, version, digest=digest, plan_digest=plan_digest(AT_ONCE)
        )
        await self._catalog.pin(endpoint.name, version)
        await stack.enter_async_context(self._host.on_trial(endpoint.runtime, version, digest))
        state = self._host.load_state(endpoint, digest)
        if isinstance(state, ServiceError):
            raise state
        return Fallback(Variant(version, digest, 0), None, budget_s)

    async def DeleteEndpoint(self, request: service_pb.DeleteEndpointRequest, _: _Context) -> Empty:
        """Nothing, once it is gone."""
        now = self._transactions.now()

        def work(tx: InferenceTx) -> Empty:
            use_cases.delete_endpoint(tx, request.name, request.etag, now)
            return Empty()

        answer = await self._transactions.mutate(request, Empty, work)
        await self._reconciler.refresh()
        return answer

    async def _stored(
        self, request: service_pb.CreateEndpointRequest, endpoint: Endpoint
    ) -> pb.Endpoint:
        return await self._transactions.mutate(
            request,
            pb.Endpoint,
            lambda tx: endpoint_message(
                use_cases.create_endpoint(tx, endpoint),
                is_ready=lambda _: True,
                memory_bytes=lambda variant: self._host.memory_bytes(endpoint, variant.digest),
            ),
        )

    def _message(self, endpoint: Endpoint) -> pb.Endpoint:
        return endpoint_message(
            endpoint,
            lambda variant: self._host.load_state(endpoint, variant.digest) is True,
            lambda variant: self._host.memory_bytes(endpoint, variant.digest),
        )

    def _new_endpoint(
        self, request: service_pb.CreateEndpointRequest, digest: str = ""
    ) -> Endpoint:
        given = request.endpoint
        if not given.initial_version:
            violation = FieldViolation("endpoint.initial_version", "is empty")
            raise InvalidRequest([violation])
        now = self._transactions.now()
        # Derived, so that the request gives the same endpoint each time that it is tried.
        uid = str(uuid.uuid5(uuid.UUID(request.request_id), "endpoint"))
        name = f"{request.parent}/endpoints/{request.endpoint_id}"
        return Endpoint(
            meta=Meta(name, uid, 1, now, now, dict(given.labels)),
            variants=(Variant(given.initial_version, digest, WHOLE_BP),),
            policy=policy_of(given.decision_policy),
            initial_version=given.initial_version,
            initial_approval=given.initial_approval,
            runtime=runtime_of(given),
            alias=given.alias,
            logs_observations=given.log_observations,
            observation_rules=observation_rules_of(given.observation_rules),
            forbids_pins=given.forbid_pins,
        )


def _reference(
    tx: InferenceTx, request: service_pb.CreateEndpointRequest, endpoint: str
) -> PolicyReference | None:
    """What a new endpoint points at; versions never change nor go, so it may be read before."""
    named = request.endpoint.policy_version
    return reference_to(tx, named, endpoint, field="endpoint.policy_version") if named else None
