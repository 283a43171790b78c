"""A monitor on a real port that keeps what it is sent and judges as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pyarrow as pa
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest
from roundhouse.monitor.v1 import ingest_service_pb2_grpc as ingest_grpc
from roundhouse.monitor.v1 import judgement_service_pb2 as judgement
from roundhouse.monitor.v1 import judgement_service_pb2_grpc as judgement_grpc

from services.common.rpc.server import serving

Response = judgement.JudgeRolloutResponse


class FakeMonitor(ingest_grpc.IngestServiceServicer, judgement_grpc.JudgementServiceServicer):
    """Keeps observations by batch id; its verdict is the test's."""

    def __init__(self) -> None:
        self.batches: dict[str, pa.Table] = {}
        self.verdict = Response.VERDICT_INCONCLUSIVE
        self.hold = ""
        self.address = ""

    async def IngestObservations(self, request_iterator, context):
        async for request in request_iterator:
            table = pa.ipc.open_stream(request.arrow_stream).read_all()
            self.batches.setdefault(request.batch_id, table)
            yield ingest.IngestObservationsResponse(batch_id=request.batch_id, rows=len(table))

    async def JudgeRollout(self, request, context):
        return Response(verdict=self.verdict, reason="as told", numbers={"alpha": 0.05})

    async def GetRolloutHold(self, request, context):
        return judgement.GetRolloutHoldResponse(reason=self.hold)

    @property
    def prediction_ids(self) -> list[str]:
        """The ids of all rows, sorted."""
        return sorted(
            value for table in self.batches.values() for value in table["prediction_id"].to_pylist()
        )


@asynccontextmanager
async def fake_monitor(
    listen: str = "127.0.0.1:0", monitor: FakeMonitor | None = None
) -> AsyncIterator[FakeMonitor]:
    """A monitor that runs until the block ends."""
    monitor = monitor or FakeMonitor()

    def register(server: grpc.aio.Server) -> None:
        ingest_grpc.add_IngestServiceServicer_to_server(monitor, server)

    def register_judgement(server: grpc.aio.Server) -> None:
        judgement_grpc.add_JudgementServiceServicer_to_server(monitor, server)

    apis = [
        (ingest.DESCRIPTOR.services_by_name["IngestService"].full_name, register),
        (judgement.DESCRIPTOR.services_by_name["JudgementService"].full_name, register_judgement),
    ]
    async with serving("monitor", listen, apis) as running:
        running.set_serving()
        monitor.address = f"127.0.0.1:{running.port}"
        yield monitor
