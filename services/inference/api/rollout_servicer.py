"""`roundhouse.inference.v1.RolloutService`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, TypeAlias

import grpc
from roundhouse.inference.v1 import drill_pb2 as drill_pb
from roundhouse.inference.v1 import rollout_pb2 as pb
from roundhouse.inference.v1 import rollout_service_pb2 as service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as pb_grpc
from roundhouse.inference.v1 import shadow_pb2 as shadow_pb

from services.common.causality import causality
from services.common.resources import Meta
from services.common.rpc.convert import from_duration
from services.common.rpc.inputs import check_settable, page_query
from services.inference.api.convert import phases_of, plan_message, rollout_message
from services.inference.api.convert_drills import drill_message
from services.inference.api.convert_shadows import shadow_report_message
from services.inference.api.requests import Transactions
from services.inference.core.drilling import GRACE, Driller
from services.inference.core.drills import RollbackDrill
from services.inference.core.errors import InvalidPhases
from services.inference.core.hosting import ModelHost
from services.inference.core.plans import AT_ONCE, plan_digest
from services.inference.core.ports import InferenceTx, VersionCatalog
from services.inference.core.reconciler import Reconciler
from services.inference.core.rollouts import check_phases
from services.inference.core.use_cases import rollouts as use_cases
from services.inference.core.use_cases.drills import create_drill, get_drill
from services.inference.core.use_cases.endpoints import get_endpoint
from services.inference.core.use_cases.rollouts import NewRollout
from services.inference.core.use_cases.shadows import get_shadow_report

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE: Final = ("labels", "version", "approval", "phases")
_DRILL_WINDOW_S: Final = 5.0
_LOOK_S: Final = 0.25


class RolloutServicer(pb_grpc.RolloutServiceServicer):
    """Rollouts over gRPC.

    Args:
        transactions: The service's.
        catalog: The registry.
        host: Knows what versions tell.
        reconciler: Serves what the rows say.
        driller: Performs drills.
        tasks: Holds drills under way.
    """

    def __init__(
        self,
        transactions: Transactions,
        catalog: VersionCatalog,
        host: ModelHost,
        reconciler: Reconciler,
        driller: Driller,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._driller = driller
        self._tasks = tasks
        self._transactions = transactions
        self._catalog = catalog
        self._host = host
        self._reconciler = reconciler

    async def CreateRollout(
        self, request: service_pb.CreateRolloutRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout, which the controller begins."""
        given = request.rollout
        check_settable(given, "rollout", _SETTABLE)
        name = f"{request.parent}/rollouts/{request.rollout_id}"
        known = await self._transactions.read(lambda tx: tx.rollouts.get(name))
        if known is None:
            digest = await self._catalog.digest_of(given.version)
            await self._catalog.check_approval(
                given.approval,
                given.version,
                digest=digest,
                plan_digest=plan_digest(phases_of(given.phases)),
            )
            if not request.validate_only:
                await self._catalog.pin(request.parent, given.version)
        else:
            digest = known.digest
        origin = causality()
        new = NewRollout(
            meta=self._new_meta(name, request.request_id, dict(given.labels)),
            endpoint=request.parent,
            version=given.version,
            digest=digest,
            approval=given.approval,
            phases=phases_of(given.phases),
            correlation_id=origin.correlation_id,
            causation_id=origin.causation_id,
        )

        def work(tx: InferenceTx) -> pb.Rollout:
            rollout = use_cases.create_rollout(tx, new)
            self._host.check_phases(get_endpoint(tx, new.endpoint), new.phases)
            return rollout_message(rollout)

        return await self._transactions.mutate(request, pb.Rollout, work)

    async def PlanRollout(
        self, request: service_pb.PlanRolloutRequest, _: _Context
    ) -> pb.RolloutPlan:
        """The plan, and what an approval is bound to."""
        if request.at_once:
            if request.phases:
                raise InvalidPhases("there are none when all traffic comes at once")
            return plan_message(AT_ONCE)
        phases = phases_of(request.phases)
        check_phases(phases)
        return plan_message(phases)

    async def GetRollout(self, request: service_pb.GetRolloutRequest, _: _Context) -> pb.Rollout:
        """The rollout as it stands."""
        rollout = await self._transactions.read(lambda tx: use_cases.get_rollout(tx, request.name))
        return rollout_message(rollout)

    async def ListRollouts(
        self, request: service_pb.ListRolloutsRequest, _: _Context
    ) -> service_pb.ListRolloutsResponse:
        """One page."""
        page = await self._transactions.read(lambda tx: tx.page_rollouts(page_query(request)))
        return service_pb.ListRolloutsResponse(
            rollouts=page.map(rollout_message), next_page_token=page.next_page_token
        )

    async def AdvanceRollout(
        self, request: service_pb.AdvanceRolloutRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout in its next phase."""
        now = self._transactions.now()
        answer = await self._transactions.mutate(
            request,
            pb.Rollout,
            lambda tx: rollout_message(
                use_cases.advance_rollout(tx, request.name, request.etag, now)
            ),
        )
        await self._reconciler.refresh()
        return answer

    async def PauseRollout(
        self, request: service_pb.PauseRolloutRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout, held."""
        now = self._transactions.now()
        return await self._transactions.mutate(
            request,
            pb.Rollout,
            lambda tx: rollout_message(
                use_cases.pause_rollout(tx, request.name, request.etag, now)
            ),
        )

    async def ResumeRollout(
        self, request: service_pb.ResumeRolloutRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout, going on."""
        now = self._transactions.now()
        return await self._transactions.mutate(
            request,
            pb.Rollout,
            lambda tx: rollout_message(
                use_cases.resume_rollout(tx, request.name, request.etag, now)
            ),
        )

    async def CancelRollout(
        self, request: service_pb.CancelRolloutRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout, ended, with all traffic back on the old version."""
        now = self._transactions.now()
        answer = await self._transactions.mutate(
            request,
            pb.Rollout,
            lambda tx: rollout_message(
                use_cases.cancel_rollout(tx, request.name, request.etag, request.reason, now)
            ),
        )
        await self._reconciler.refresh()
        return answer

    async def RollbackEndpoint(
        self, request: service_pb.RollbackEndpointRequest, _: _Context
    ) -> pb.Rollout:
        """The rollout that undoes; its version has the traffic already."""
        name = f"{request.name}/rollouts/rollback-{request.request_id.partition('-')[0]}"
        meta = self._new_meta(name, request.request_id, {})
        answer = await self._transactions.mutate(
            request,
            pb.Rollout,
            lambda tx: rollout_message(
                use_cases.rollback_endpoint(tx, meta, request.name, request.reason)
            ),
        )
        await self._reconciler.refresh()
        return answer

    async def GetShadowReport(
        self, request: service_pb.GetShadowReportRequest, _: _Context
    ) -> shadow_pb.ShadowReport:
        """The comparison as it was last written."""
        report = await self._transactions.read(lambda tx: get_shadow_report(tx, request.name))
        return shadow_report_message(report)

    async def DrillRollback(
        self, request: service_pb.DrillRollbackRequest, _: _Context
    ) -> drill_pb.RollbackDrill:
        """The drill, begun; `GetRollbackDrill` tells how it goes on."""
        now = self._transactions.now()
        window_s = from_duration(request.window) if request.HasField("window") else _DRILL_WINDOW_S
        uid = uuid.uuid5(uuid.UUID(request.request_id), "drill")
        name = f"{request.name}/drills/d-{uid.hex[:12]}"
        meta = Meta(name, str(uid), 1, now, now)
        deadline = now + timedelta(seconds=2 * window_s) + GRACE
        begun: list[RollbackDrill] = []

        def work(tx: InferenceTx) -> drill_pb.RollbackDrill:
            begun[:] = [create_drill(tx, meta, request.name, deadline)]
            return drill_message(begun[0])

        answer = await self._transactions.mutate(request, drill_pb.RollbackDrill, work)
        # A repeat does no work, and the drill that it is told of is under way already.
        for drill in begun:
            self._tasks.create_task(self._driller.perform(drill, window_s))
        return answer

    async def GetRollbackDrill(
        self, request: service_pb.GetRollbackDrillRequest, _: _Context
    ) -> drill_pb.RollbackDrill:
        """The drill as it stands."""
        return drill_message(await self._transactions.read(lambda tx: get_drill(tx, request.name)))

    async def ListRollbackDrills(
        self, request: service_pb.ListRollbackDrillsRequest, _: _Context
    ) -> service_pb.ListRollbackDrillsResponse:
        """One page."""
        page = await self._transactions.read(lambda tx: tx.page_drills(page_query(request)))
        return service_pb.ListRollbackDrillsResponse(
            drills=page.map(drill_message), next_page_token=page.next_page_token
        )

    async def WatchRollout(
        self, request: service_pb.WatchRolloutRequest, _: _Context
    ) -> AsyncIterator[pb.Rollout]:
        """The rollout at each of its revisions that is seen, up to the last."""
        etag = ""
        while True:
            rollout = await self._transactions.read(
                lambda tx: use_cases.get_rollout(tx, request.name)
            )
            if rollout.meta.etag != etag:
                etag = rollout.meta.etag
                yield rollout_message(rollout)
            if rollout.is_over:
                return
            await asyncio.sleep(_LOOK_S)

    def _new_meta(self, name: str, request_id: str, labels: dict[str, str]) -> Meta:
        now = self._transactions.now()
        # Derived, so that the request gives the same rollout each time that it is tried.
        uid = str(uuid.uuid5(uuid.UUID(request_id), "rollout"))
        return Meta(name, uid, 1, now, now, labels)
