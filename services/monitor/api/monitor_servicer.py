"""`roundhouse.monitor.v1.MonitorService`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.monitor.v1 import monitor_pb2 as pb
from roundhouse.monitor.v1 import monitor_service_pb2 as service_pb
from roundhouse.monitor.v1 import monitor_service_pb2_grpc as pb_grpc

from services.common.resources import Page
from services.common.rpc.inputs import check_settable, masked, page_query
from services.monitor.api.convert.monitors import (
    drift_report_to_listed_proto,
    drift_report_to_proto,
    drift_test_from_proto,
    fixed_fields,
    monitor_maker,
    monitor_to_proto,
    performance_report_to_listed_proto,
    performance_report_to_proto,
)
from services.monitor.api.transactions import Transactions
from services.monitor.core.judging import judged_until
from services.monitor.core.names import PROJECT
from services.monitor.core.ports import MonitorLists, MonitorTx, Watching
from services.monitor.core.resources import DriftReport, PerformanceReport
from services.monitor.core.use_cases import monitors
from services.monitor.core.use_cases.lookup import (
    the_drift_report,
    the_monitor,
    the_performance_report,
)

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE: Final = (
    *("labels", "endpoint", "window", "outcome_delay"),
    *("drift_test", "dataset", "owner", "slices"),
)
_CHANGEABLE: Final = ("labels", "drift_test", "owner")


class MonitorServicer(pb_grpc.MonitorServiceServicer):
    """Monitors and their reports over gRPC.

    Args:
        transactions: The monitor's.
        watching: Is told of monitors that come and go.
    """

    def __init__(self, transactions: Transactions, watching: Watching) -> None:
        self._transactions = transactions
        self._watching = watching

    async def CreateMonitor(
        self, request: service_pb.CreateMonitorRequest, _: _Context
    ) -> pb.Monitor:
        """A new monitor, watching from its endpoint's first prediction on."""
        check_settable(request.monitor, "monitor", _SETTABLE)
        name = f"{request.parent}/monitors/{request.monitor_id}"
        labels = dict(request.monitor.labels)
        created = await self._transactions.mutate(
            request,
            pb.Monitor,
            lambda tx: monitor_to_proto(
                monitors.create_monitor(tx, name, labels, monitor_maker(request.monitor))
            ),
        )
        known, done = await self._transactions.read(
            lambda tx: (tx.monitors.get(name), judged_until(tx, name))
        )
        if known is not None:  # a repeat of the request may come after the monitor's end
            self._watching.follow(known, done)
        return created

    async def GetMonitor(self, request: service_pb.GetMonitorRequest, _: _Context) -> pb.Monitor:
        """One monitor."""
        return await self._transactions.read(
            lambda tx: monitor_to_proto(the_monitor(tx, request.name))
        )

    async def ListMonitors(
        self, request: service_pb.ListMonitorsRequest, _: _Context
    ) -> service_pb.ListMonitorsResponse:
        """A page of a project's monitors."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.monitors(query))
        return service_pb.ListMonitorsResponse(
            monitors=page.map(monitor_to_proto), next_page_token=page.next_page_token
        )

    async def UpdateMonitor(
        self, request: service_pb.UpdateMonitorRequest, _: _Context
    ) -> pb.Monitor:
        """The monitor, changed."""
        picked = masked(request.update_mask.paths, _CHANGEABLE)
        wanted = request.monitor
        change = monitors.MonitorChange(
            labels=dict(wanted.labels) if "labels" in picked else None,
            drift_test=drift_test_from_proto(wanted.drift_test) if "drift_test" in picked else None,
            owner=wanted.owner if "owner" in picked else None,
        )
        return await self._transactions.mutate(
            request,
            pb.Monitor,
            lambda tx: monitor_to_proto(
                monitors.update_monitor(
                    tx, wanted.name, change, fixed=fixed_fields(wanted), etag=wanted.etag
                )
            ),
        )

    async def DeleteMonitor(self, request: service_pb.DeleteMonitorRequest, _: _Context) -> Empty:
        """Nothing, once the monitor is forgotten."""
        gone: list[str] = []

        def delete(tx: MonitorTx) -> Empty:
            gone[:] = [monitors.delete_monitor(tx, request.name, etag=request.etag).endpoint]
            return Empty()

        answer = await self._transactions.mutate(request, Empty, delete)
        for endpoint in gone:
            self._watching.unfollow(endpoint)
        return answer

    async def GetDriftReport(
        self, request: service_pb.GetDriftReportRequest, _: _Context
    ) -> pb.DriftReport:
        """One drift report with histograms."""
        return await self._transactions.read(
            lambda tx: drift_report_to_proto(the_drift_report(tx, request.name))
        )

    async def ListDriftReports(
        self, request: service_pb.ListDriftReportsRequest, _: _Context
    ) -> service_pb.ListDriftReportsResponse:
        """A page of a monitor's drift reports, without histograms."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[DriftReport]:
            the_monitor(tx, request.parent, "parent")
            return lists.drift_reports(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListDriftReportsResponse(
            drift_reports=page.map(drift_report_to_listed_proto),
            next_page_token=page.next_page_token,
        )

    async def GetPerformanceReport(
        self, request: service_pb.GetPerformanceReportRequest, _: _Context
    ) -> pb.PerformanceReport:
        """One performance report with slices."""
        return await self._transactions.read(
            lambda tx: performance_report_to_proto(the_performance_report(tx, request.name))
        )

    async def ListPerformanceReports(
        self, request: service_pb.ListPerformanceReportsRequest, _: _Context
    ) -> service_pb.ListPerformanceReportsResponse:
        """A page of a monitor's performance reports, without slices."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[PerformanceReport]:
            the_monitor(tx, request.parent, "parent")
            return lists.performance_reports(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListPerformanceReportsResponse(
            performance_reports=page.map(performance_report_to_listed_proto),
            next_page_token=page.next_page_token,
        )
