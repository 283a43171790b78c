"""`roundhouse.monitor.v1.SloService`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.monitor.v1 import slo_pb2 as pb
from roundhouse.monitor.v1 import slo_service_pb2 as service_pb
from roundhouse.monitor.v1 import slo_service_pb2_grpc as pb_grpc

from services.common.names import parent_of
from services.common.resources import Page
from services.common.rpc.convert import from_timestamp
from services.common.rpc.inputs import check_settable, masked, page_query
from services.monitor.api.convert.slos import (
    CHANGEABLE,
    SETTABLE,
    budget_to_proto,
    slo_maker,
    slo_to_proto,
)
from services.monitor.api.transactions import Transactions
from services.monitor.core.ports import MonitorLists, MonitorTx
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.measuring import Meter
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.use_cases import slos
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.use_cases.restraints import restraints_of

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class SloServicer(pb_grpc.SloServiceServicer):
    """Objectives over gRPC.

    Args:
        transactions: The monitor's.
        meter: Reads objectives.
    """

    def __init__(self, transactions: Transactions, meter: Meter) -> None:
        self._transactions = transactions
        self._meter = meter

    async def CreateSlo(self, request: service_pb.CreateSloRequest, _: _Context) -> pb.Slo:
        """A new objective."""
        check_settable(request.slo, "slo", SETTABLE)
        name = f"{request.parent}/slos/{request.slo_id}"
        return await self._transactions.mutate(
            request,
            pb.Slo,
            lambda tx: slo_to_proto(slos.create_slo(tx, name, slo_maker(request.slo))),
        )

    async def GetSlo(self, request: service_pb.GetSloRequest, _: _Context) -> pb.Slo:
        """One objective."""
        return await self._transactions.read(
            lambda tx: slo_to_proto(slos.the_slo(tx, request.name))
        )

    async def ListSlos(
        self, request: service_pb.ListSlosRequest, _: _Context
    ) -> service_pb.ListSlosResponse:
        """A page of a monitor's objectives."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[Slo]:
            the_monitor(tx, request.parent, "parent")
            return lists.slos(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListSlosResponse(
            slos=page.map(slo_to_proto), next_page_token=page.next_page_token
        )

    async def UpdateSlo(self, request: service_pb.UpdateSloRequest, _: _Context) -> pb.Slo:
        """The objective, changed."""
        picked = masked(request.update_mask.paths, CHANGEABLE)
        wanted = request.slo
        return await self._transactions.mutate(
            request,
            pb.Slo,
            lambda tx: slo_to_proto(
                slos.update_slo(tx, wanted.name, slo_maker(wanted), picked, etag=wanted.etag)
            ),
        )

    async def DeleteSlo(self, request: service_pb.DeleteSloRequest, _: _Context) -> Empty:
        """Nothing, once the objective is forgotten."""

        def delete(tx: MonitorTx) -> Empty:
            slos.delete_slo(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def GetErrorBudget(
        self, request: service_pb.GetErrorBudgetRequest, _: _Context
    ) -> pb.ErrorBudget:
        """What is left of the objective's budget."""

        def found(tx: MonitorTx) -> tuple[Slo, Monitor, Sequence[Restraint]]:
            slo = slos.the_slo(tx, request.name)
            monitor = the_monitor(tx, parent_of(slo.meta.name))
            return slo, monitor, restraints_of(tx, slo.meta.name)

        slo, monitor, restraints = await self._transactions.read(found)
        end = from_timestamp(request.end_time) if request.HasField("end_time") else None
        reading = await self._meter.read(slo, monitor, end)
        return budget_to_proto(reading, restraints if end is None else ())
