"""`roundhouse.registry.v1.RetentionService`."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.registry.v1 import retention_pb2 as pb
from roundhouse.registry.v1 import retention_service_pb2 as service_pb
from roundhouse.registry.v1 import retention_service_pb2_grpc as pb_grpc

from services.common.clock import Clock
from services.common.rpc.inputs import check_settable, page_query
from services.registry.api.collector import Collector
from services.registry.api.convert.retention import (
    hold_kind_from_proto,
    hold_to_proto,
    item_to_proto,
    moment,
    pin_to_proto,
    plan_to_proto,
)
from services.registry.api.inputs import child_name
from services.registry.api.transactions import Transactions
from services.registry.core.names import PROJECT
from services.registry.core.ports import RegistryLists, RegistryTx
from services.registry.core.use_cases import collection, retention

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE_OF_PIN = ("target", "holder", "reason", "expire_time")
_SETTABLE_OF_HOLD = ("target", "kind", "placed_by", "reason")


class RetentionServicer(pb_grpc.RetentionServiceServicer):
    """Pins, holds and garbage collections over gRPC.

    Args:
        transactions: The registry's.
        collector: Looks at the store and carries plans out.
        now: The clock.
    """

    def __init__(self, transactions: Transactions, collector: Collector, now: Clock) -> None:
        self._transactions = transactions
        self._collector = collector
        self._now = now

    async def CreatePin(self, request: service_pb.CreatePinRequest, _: _Context) -> pb.Pin:
        """The pin, new or set anew."""
        given = request.pin
        check_settable(given, "pin", _SETTABLE_OF_PIN)
        name = child_name(request.parent, "pins", request.pin_id)
        return await self._transactions.mutate(
            request,
            pb.Pin,
            lambda tx: pin_to_proto(
                retention.set_pin(
                    tx,
                    name,
                    target=given.target,
                    holder=given.holder,
                    reason=given.reason,
                    expire_time=moment(given.expire_time, given.HasField("expire_time")),
                )
            ),
        )

    async def GetPin(self, request: service_pb.GetPinRequest, _: _Context) -> pb.Pin:
        """One pin."""
        return await self._transactions.read(
            lambda tx: pin_to_proto(retention.the_pin(tx, request.name))
        )

    async def ListPins(
        self, request: service_pb.ListPinsRequest, _: _Context
    ) -> service_pb.ListPinsResponse:
        """A page of a project's pins."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.pins(query))
        return service_pb.ListPinsResponse(
            pins=page.map(pin_to_proto), next_page_token=page.next_page_token
        )

    async def DeletePin(self, request: service_pb.DeletePinRequest, _: _Context) -> Empty:
        """Nothing, once the pin is gone."""

        def delete(tx: RegistryTx) -> Empty:
            retention.delete_pin(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def PlaceHold(self, request: service_pb.PlaceHoldRequest, _: _Context) -> pb.Hold:
        """The hold, in force."""
        given = request.hold
        check_settable(given, "hold", _SETTABLE_OF_HOLD)
        return await self._transactions.mutate(
            request,
            pb.Hold,
            lambda tx: hold_to_proto(
                retention.place_hold(
                    tx,
                    request.parent,
                    target=given.target,
                    kind=hold_kind_from_proto(given.kind),
                    placed_by=given.placed_by,
                    reason=given.reason,
                )
            ),
        )

    async def GetHold(self, request: service_pb.GetHoldRequest, _: _Context) -> pb.Hold:
        """One hold."""
        return await self._transactions.read(
            lambda tx: hold_to_proto(retention.the_hold(tx, request.name))
        )

    async def ListHolds(
        self, request: service_pb.ListHoldsRequest, _: _Context
    ) -> service_pb.ListHoldsResponse:
        """A page of a project's holds."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.holds(query))
        return service_pb.ListHoldsResponse(
            holds=page.map(hold_to_proto), next_page_token=page.next_page_token
        )

    async def ReleaseHold(self, request: service_pb.ReleaseHoldRequest, _: _Context) -> pb.Hold:
        """The hold, over."""
        return await self._transactions.mutate(
            request,
            pb.Hold,
            lambda tx: hold_to_proto(
                retention.release_hold(
                    tx,
                    request.name,
                    actor=request.actor,
                    reason=request.reason,
                    etag=request.etag,
                )
            ),
        )

    async def PlanGarbageCollection(
        self, request: service_pb.PlanGarbageCollectionRequest, _: _Context
    ) -> pb.CollectionPlan:
        """A plan, of which nothing is done."""
        answered = await self._transactions.answered(request, pb.CollectionPlan)
        if answered is not None:
            return answered
        stored = await self._collector.stored(self._now())
        return await self._transactions.mutate(
            request,
            pb.CollectionPlan,
            lambda tx: plan_to_proto(
                collection.plan_collection(
                    tx,
                    request.parent,
                    stored,
                    actor=request.actor,
                    expire_time=moment(request.expire_time, request.HasField("expire_time")),
                ),
                tx.now,
            ),
        )

    async def RunGarbageCollection(
        self, request: service_pb.RunGarbageCollectionRequest, _: _Context
    ) -> pb.CollectionPlan:
        """The plan, begun."""
        begun = await self._transactions.mutate(
            request,
            pb.CollectionPlan,
            lambda tx: plan_to_proto(
                collection.begin_collection(tx, request.name, digest=request.digest), tx.now
            ),
        )
        self._collector.wake()
        return begun

    async def GetCollectionPlan(
        self, request: service_pb.GetCollectionPlanRequest, _: _Context
    ) -> pb.CollectionPlan:
        """One plan."""
        return await self._transactions.read(
            lambda tx: plan_to_proto(collection.the_plan(tx, request.name), tx.now)
        )

    async def ListCollectionPlans(
        self, request: service_pb.ListCollectionPlansRequest, _: _Context
    ) -> service_pb.ListCollectionPlansResponse:
        """A page of a project's plans."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.plans(query))
        now = self._now()
        return service_pb.ListCollectionPlansResponse(
            collection_plans=page.map(lambda plan: plan_to_proto(plan, now)),
            next_page_token=page.next_page_token,
        )

    async def ListCollectionItems(
        self, request: service_pb.ListCollectionItemsRequest, _: _Context
    ) -> service_pb.ListCollectionItemsResponse:
        """A page of what a plan looked at."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListCollectionItemsResponse:
            collection.the_plan(tx, request.parent)
            page = lists.plan_items(query)
            return service_pb.ListCollectionItemsResponse(
                items=page.map(item_to_proto), next_page_token=page.next_page_token
            )

        return await self._transactions.read_lists(listed)
