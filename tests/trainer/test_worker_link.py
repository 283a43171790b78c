"""What a worker tells its trainer, as it leaves the process."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import grpc
from roundhouse.trainer.v1 import worker_service_pb2 as pb
from roundhouse.trainer.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    add_WorkerServiceServicer_to_server,
)

from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.core.jobs import MetricPoint
from tests.support.trainer_values import spec


class Reports(WorkerServiceServicer):
    """Keeps every report."""

    def __init__(self) -> None:
        self.received: list[pb.ReportMetricsRequest] = []

    async def ReportMetrics(self, request_iterator, context):
        async for request in request_iterator:
            self.received.append(request)
            yield pb.ReportMetricsResponse()


def work() -> Work:
    claim = pb.Claim(job="projects/p/trainingJobs/j", fence=1)
    return Work(claim, claim.job, uuid.uuid4(), 1, spec(), (), (), 0.0, 30.0, 30.0, 0, "", "", "")


async def test_more_than_one_report_may_hold_goes_out_as_several_in_order():
    server, reports = grpc.aio.server(), Reports()
    add_WorkerServiceServicer_to_server(reports, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    now = datetime.now(UTC)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        link = TrainerLink(channel, work())
        link.measured([MetricPoint("t", "loss", step, 0.5, now) for step in range(25_001)])
        link.logged("one line")
        await link.flush()
        await link.flush()
    await server.stop(None)
    assert [len(each.points) for each in reports.received] == [10_000, 10_000, 5_001]
    assert [each.sequence for each in reports.received] == [1, 2, 3]
    assert [list(each.log_lines) for each in reports.received] == [["one line"], [], []]
    steps = [point.step for each in reports.received for point in each.points]
    assert steps == list(range(25_001))
