"""What a worker tells its trainer, as it leaves the process."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import worker_service_pb2 as pb
from roundhouse.trainer.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    add_WorkerServiceServicer_to_server,
)

from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.core.jobs import MetricPoint, Trial
from services.trainer.core.states import TrialState
from tests.support.trainer_values import spec


class Reports(WorkerServiceServicer):
    """Keeps every report."""

    def __init__(self) -> None:
        self.address = ""
        self.received: list[pb.ReportMetricsRequest] = []

    async def ReportMetrics(self, request_iterator, context):
        async for request in request_iterator:
            self.received.append(request)
            yield pb.ReportMetricsResponse()


def work() -> Work:
    claim = pb.Claim(job="projects/p/trainingJobs/j", fence=1)
    return Work(claim, claim.job, uuid.uuid4(), 1, spec(), (), (), 0.0, 30.0, 30.0, 0, "", "", "")


@pytest.fixture
async def reports():
    """What a trainer gets, and where it listens."""
    server, reports = grpc.aio.server(), Reports()
    add_WorkerServiceServicer_to_server(reports, server)
    reports.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield reports
    await server.stop(None)


async def test_more_than_one_report_may_hold_goes_out_as_several_in_order(reports):
    now = datetime.now(UTC)
    async with grpc.aio.insecure_channel(reports.address) as channel:
        link = TrainerLink(channel, work())
        link.measured([MetricPoint("t", "loss", step, 0.5, now) for step in range(25_001)])
        link.logged("one line")
        await link.flush()
        await link.flush()
    assert [len(each.points) for each in reports.received] == [10_000, 10_000, 5_001]
    assert [each.sequence for each in reports.received] == [1, 2, 3]
    assert [list(each.log_lines) for each in reports.received] == [["one line"], [], []]
    steps = [point.step for each in reports.received for point in each.points]
    assert steps == list(range(25_001))


async def test_what_a_trial_measured_is_stored_together_with_its_end(reports):
    trial = Trial("mlp-1", 0, "mlp", {}, TrialState.RUNNING)
    async with grpc.aio.insecure_channel(reports.address) as channel:
        link = TrainerLink(channel, work())
        link.trial_moved(trial)
        link.measured([MetricPoint("mlp-1", "loss", 1, 0.5, datetime.now(UTC))])
        await link.trial_kept(replace(trial, state=TrialState.SUCCEEDED))
        await link.flush()
    (report,) = reports.received
    assert [each.state for each in report.trials] == [job_pb2.Trial.STATE_SUCCEEDED]
    assert [point.step for point in report.points] == [1]


async def test_how_a_trial_stands_goes_with_the_last_of_what_it_measured(reports):
    now = datetime.now(UTC)
    trial = Trial("mlp-1", 0, "mlp", {}, TrialState.SUCCEEDED)
    async with grpc.aio.insecure_channel(reports.address) as channel:
        link = TrainerLink(channel, work())
        link.measured([MetricPoint("mlp-1", "loss", step, 0.5, now) for step in range(10_001)])
        await link.trial_kept(trial)
    assert [len(each.points) for each in reports.received] == [10_000, 1]
    assert [len(each.trials) for each in reports.received] == [0, 1]
