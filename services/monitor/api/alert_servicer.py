"""`roundhouse.monitor.v1.AlertService`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from roundhouse.monitor.v1 import alert_pb2 as pb
from roundhouse.monitor.v1 import alert_service_pb2 as service_pb
from roundhouse.monitor.v1 import alert_service_pb2_grpc as pb_grpc

from services.common.resources import Page
from services.common.rpc.convert import from_timestamp
from services.common.rpc.inputs import page_query
from services.monitor.api.convert.alerts import alert_to_proto
from services.monitor.api.convert.failures import failure_to_proto, incident_to_proto
from services.monitor.api.transactions import Transactions
from services.monitor.core.alerts.alerting import Alert
from services.monitor.core.alerts.escalation import Escalation
from services.monitor.core.alerts.incidents import incidents_of
from services.monitor.core.names import PROJECT
from services.monitor.core.ports import MonitorLists, MonitorTx
from services.monitor.core.use_cases import alerts
from services.monitor.core.use_cases.escalating import escalate_alert
from services.monitor.core.use_cases.lookup import the_monitor

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_MOST_INCIDENTS: Final = 1000


class AlertServicer(pb_grpc.AlertServiceServicer):
    """Alerts over gRPC.

    Args:
        transactions: The monitor's.
        escalation: Whom alerts can go up to.
    """

    def __init__(self, transactions: Transactions, escalation: Escalation) -> None:
        self._transactions = transactions
        self._escalation = escalation

    async def GetAlert(self, request: service_pb.GetAlertRequest, _: _Context) -> pb.Alert:
        """One alert."""
        return await self._transactions.read(
            lambda tx: alert_to_proto(alerts.the_alert(tx, request.name))
        )

    async def ListAlerts(
        self, request: service_pb.ListAlertsRequest, _: _Context
    ) -> service_pb.ListAlertsResponse:
        """A page of the alerts of a monitor or a project, newest first."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[Alert]:
            if not PROJECT.matches(request.parent):
                the_monitor(tx, request.parent, "parent")
            return lists.alerts(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListAlertsResponse(
            alerts=page.map(alert_to_proto), next_page_token=page.next_page_token
        )

    async def AcknowledgeAlert(
        self, request: service_pb.AcknowledgeAlertRequest, _: _Context
    ) -> pb.Alert:
        """The alert, seen to."""
        return await self._transactions.mutate(
            request,
            pb.Alert,
            lambda tx: alert_to_proto(
                alerts.acknowledge_alert(
                    tx, request.name, actor=request.actor, reason=request.reason
                )
            ),
        )

    async def SilenceAlert(self, request: service_pb.SilenceAlertRequest, _: _Context) -> pb.Alert:
        """The alert, silenced."""
        return await self._transactions.mutate(
            request,
            pb.Alert,
            lambda tx: alert_to_proto(
                alerts.silence_alert(
                    tx,
                    request.name,
                    actor=request.actor,
                    reason=request.reason,
                    until=from_timestamp(request.until_time),
                )
            ),
        )

    async def ResolveAlert(self, request: service_pb.ResolveAlertRequest, _: _Context) -> pb.Alert:
        """The alert, ended."""
        return await self._transactions.mutate(
            request,
            pb.Alert,
            lambda tx: alert_to_proto(
                alerts.resolve_alert(tx, request.name, actor=request.actor, reason=request.reason)
            ),
        )

    async def EscalateAlert(
        self, request: service_pb.EscalateAlertRequest, _: _Context
    ) -> pb.Alert:
        """The alert, gone up."""
        return await self._transactions.mutate(
            request,
            pb.Alert,
            lambda tx: alert_to_proto(
                escalate_alert(
                    tx,
                    request.name,
                    self._escalation,
                    actor=request.actor,
                    reason=request.reason,
                    receiver=request.receiver,
                )
            ),
        )

    async def QueryIncidents(
        self, request: service_pb.QueryIncidentsRequest, _: _Context
    ) -> service_pb.QueryIncidentsResponse:
        """A project's incidents, pages first."""
        PROJECT.parse(request.parent, field="parent")
        told_since = request.HasField("changed_since")
        since = from_timestamp(request.changed_since) if told_since else None
        alerts = await self._transactions.read(
            lambda tx: tx.alerts_of_project(request.parent, since)
        )
        incidents = incidents_of(alerts)[:_MOST_INCIDENTS]
        return service_pb.QueryIncidentsResponse(incidents=map(incident_to_proto, incidents))

    async def ListJobFailures(
        self, request: service_pb.ListJobFailuresRequest, _: _Context
    ) -> service_pb.ListJobFailuresResponse:
        """A page of a project's failed attempts, newest first."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.job_failures(query))
        return service_pb.ListJobFailuresResponse(
            job_failures=page.map(lambda noted: failure_to_proto(noted.failure)),
            next_page_token=page.next_page_token,
        )
