"""A whole monitor in this process, and the peers that a test gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from google.type.money_pb2 import Money
from roundhouse.common.v1 import events_pb2_grpc
from roundhouse.inference.v1 import endpoint_service_pb2 as endpoint_pb
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from roundhouse.monitor.v1 import (
    alert_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    judgement_service_pb2_grpc,
    monitor_pb2,
    monitor_service_pb2,
    monitor_service_pb2_grpc,
    retrain_service_pb2,
    retrain_service_pb2_grpc,
    slo_service_pb2_grpc,
)
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2 as job_service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as job_grpc

from services.common.errors import NotFound
from services.common.rpc.server import Api, serving
from services.monitor.core.stream.batches import OBSERVATION_COLUMNS, OUTCOME_COLUMNS
from services.monitor.settings import MonitorSettings
from services.monitor.wiring import monitor
from tests.support.calls import PROJECT, TIMEOUT_S, request_id
from tests.support.monitor_values import CHAMPION, DATASET, ENDPOINT, JOB, MARCH

NOBODY = "127.0.0.1:1"
"""An address that refuses connections."""


class EndpointMissing(NotFound):
    """What inference says of an endpoint it does not have."""

    reason = "ENDPOINT_NOT_FOUND"


class Peers(job_grpc.JobServiceServicer, endpoint_grpc.EndpointServiceServicer):
    """A trainer with one template job, and an inference service without endpoints."""

    async def GetTrainingJob(
        self, request: job_service_pb.GetTrainingJobRequest, _: Any
    ) -> job_pb2.TrainingJob:
        if request.name != JOB:
            raise EndpointMissing("There is no such job.")
        spec = job_pb2.JobSpec(snapshot=f"{DATASET}/snapshots/s", target="late")
        spec.split.time_column = "day"
        job = job_pb2.TrainingJob(name=JOB, spec=spec)
        job.cost.CopyFrom(Money(currency_code="USD", units=1, nanos=500_000_000))
        return job

    async def GetEndpoint(self, request: endpoint_pb.GetEndpointRequest, _: Any) -> Any:
        raise EndpointMissing("There is no such endpoint.")


@asynccontextmanager
async def running_peers() -> AsyncIterator[str]:
    """The address at which trainer and inference answer."""
    peers = Peers()
    apis: list[Api] = [
        (
            "roundhouse.trainer.v1.JobService",
            lambda server: job_grpc.add_JobServiceServicer_to_server(peers, server),
        ),
        (
            "roundhouse.inference.v1.EndpointService",
            lambda server: endpoint_grpc.add_EndpointServiceServicer_to_server(peers, server),
        ),
    ]
    async with serving("peers", "127.0.0.1:0", apis) as server:
        server.set_serving()
        yield f"127.0.0.1:{server.port}"


class MonitorCaller:
    """Stubs of every service of one monitor.

    Args:
        channel: To the monitor; the caller closes it.
        address: Of the monitor.
    """

    def __init__(self, channel: grpc.aio.Channel, address: str = "") -> None:
        self.address = address
        self.monitors = monitor_service_pb2_grpc.MonitorServiceStub(channel)
        self.retraining = retrain_service_pb2_grpc.RetrainServiceStub(channel)
        self.judgements = judgement_service_pb2_grpc.JudgementServiceStub(channel)
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(channel)
        self.slos = slo_service_pb2_grpc.SloServiceStub(channel)
        self.alerts = alert_service_pb2_grpc.AlertServiceStub(channel)
        self.events = events_pb2_grpc.EventServiceStub(channel)

    async def create_monitor(
        self, monitor_id: str = "delays", **fields: Any
    ) -> monitor_pb2.Monitor:
        """A new monitor."""
        fields = {"endpoint": ENDPOINT, "dataset": DATASET, **fields}
        return await self.monitors.CreateMonitor(
            monitor_service_pb2.CreateMonitorRequest(
                parent=PROJECT,
                monitor_id=monitor_id,
                monitor=monitor_pb2.Monitor(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def create_policy(
        self, parent: str, policy_id: str = "drift", **fields: Any
    ) -> monitor_pb2.RetrainPolicy:
        """A new policy."""
        fields = {
            "template_job": JOB,
            "data_drift": monitor_pb2.RetrainPolicy.DataDrift(),
            **fields,
        }
        return await self.retraining.CreateRetrainPolicy(
            retrain_service_pb2.CreateRetrainPolicyRequest(
                parent=parent,
                retrain_policy_id=policy_id,
                retrain_policy=monitor_pb2.RetrainPolicy(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def observe(self, *batches: tuple[str, bytes]) -> dict[str, int]:
        """Rows acknowledged by batch id."""
        requests = [
            ingest_service_pb2.IngestObservationsRequest(batch_id=name, arrow_stream=rows)
            for name, rows in batches
        ]
        answers = self.ingest.IngestObservations(iter(requests), timeout=TIMEOUT_S)
        return {answer.batch_id: answer.rows async for answer in answers}

    async def learn(self, *batches: tuple[str, bytes]) -> dict[str, int]:
        """Rows acknowledged by batch id."""
        requests = [
            ingest_service_pb2.IngestOutcomesRequest(batch_id=name, arrow_stream=rows)
            for name, rows in batches
        ]
        answers = self.ingest.IngestOutcomes(iter(requests), timeout=TIMEOUT_S)
        return {answer.batch_id: answer.rows async for answer in answers}


@asynccontextmanager
async def running_monitor(
    data_dir: Path, peers: str = NOBODY, registry: str = NOBODY, **changed: Any
) -> AsyncIterator[MonitorCaller]:
    """A caller of a monitor with the embedded defaults."""
    settings = MonitorSettings(
        listen="127.0.0.1:0",
        dashboard_listen="",
        data_dir=data_dir,
        registry_address=registry,
        trainer_address=peers,
        inference_address=peers,
        drain_timeout_s=2.0,
        **changed,
    )
    async with monitor(settings) as server:
        server.set_serving()
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield MonitorCaller(channel, address)


def arrow(rows: pa.Table) -> bytes:
    """One Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def observed(ids: list[str]) -> bytes:
    """Predictions of the endpoint at the beginning of March."""
    values = {
        "prediction_id": ids,
        "event_time": [MARCH] * len(ids),
        "endpoint": [ENDPOINT] * len(ids),
        "variant": [CHAMPION] * len(ids),
        "score": [0.5] * len(ids),
        "label": [1] * len(ids),
    }
    schema = pa.schema([*OBSERVATION_COLUMNS.items(), ("f_wind", pa.float32())])
    return arrow(pa.table({**values, "f_wind": [1.0] * len(ids)}, schema=schema))


def learned(ids: list[str]) -> bytes:
    """Outcomes that came true."""
    values = {
        "prediction_id": ids,
        "outcome": [1] * len(ids),
        "event_time": [MARCH] * len(ids),
    }
    return arrow(pa.table(values, schema=pa.schema(list(OUTCOME_COLUMNS.items()))))
