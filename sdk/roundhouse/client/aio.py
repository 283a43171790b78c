"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc import aio
from roundhouse.client import bundles, policy
from roundhouse.client.addresses import SERVICES, Addresses, ServiceName
from roundhouse.client.aio_interceptors import ResponseStreams, UnaryCalls
from roundhouse.client.errors import Unavailable, typed_errors
from roundhouse.client.interceptors import intercepted
from roundhouse.client.predictions import (
    InputColumn,
    Inputs,
    Prediction,
    PredictOptions,
    columns_of,
    prediction_of,
    request_of,
)
from roundhouse.client.transfers import Transfers
from roundhouse.common.v1.events_pb2 import Event, WatchEventsRequest
from roundhouse.common.v1.events_pb2_grpc import EventServiceStub
from roundhouse.inference.v1.batch_service_pb2_grpc import BatchServiceStub
from roundhouse.inference.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from roundhouse.inference.v1.policy_service_pb2_grpc import PolicyServiceStub
from roundhouse.inference.v1.rollout_service_pb2_grpc import RolloutServiceStub
from roundhouse.monitor.v1.alert_service_pb2_grpc import AlertServiceStub
from roundhouse.monitor.v1.ingest_service_pb2 import IngestOutcomesRequest
from roundhouse.monitor.v1.ingest_service_pb2_grpc import IngestServiceStub
from roundhouse.monitor.v1.judgement_service_pb2_grpc import JudgementServiceStub
from roundhouse.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from roundhouse.monitor.v1.retrain_service_pb2_grpc import RetrainServiceStub
from roundhouse.monitor.v1.slo_service_pb2_grpc import SloServiceStub
from roundhouse.registry.v1.dataset_pb2 import SnapshotFile
from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.dataset_service_pb2_grpc import DatasetServiceStub
from roundhouse.registry.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from roundhouse.registry.v1.lineage_service_pb2_grpc import LineageServiceStub
from roundhouse.registry.v1.model_pb2 import ArtifactFile, ModelVersion
from roundhouse.registry.v1.model_service_pb2_grpc import ModelServiceStub
from roundhouse.registry.v1.retention_service_pb2_grpc import RetentionServiceStub
from roundhouse.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub
from roundhouse.trainer.v1.cost_service_pb2_grpc import CostServiceStub
from roundhouse.trainer.v1.job_service_pb2_grpc import JobServiceStub
from roundhouse.trainer.v1.queue_service_pb2_grpc import QueueServiceStub
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

T = TypeVar("T")


class AsyncClient:
    """Calls the four services. The stubs take and give the contracts' own messages.

    Every call has a deadline, carries a request id, is repeated while the service is away if that
    is safe, and fails with a `RoundhouseError`. Made and used within one running event loop. An
    asynchronous context manager.

    Attributes:
        datasets, models, evaluations, lineage, retention, webhooks: The registry.
        jobs, costs, queues: The trainer.
        endpoints, policies, rollouts, batches, oip: Inference; `oip` is the Open Inference
            Protocol.
        monitors, ingest, retraining, judgements, slos, alerts: The monitor.
    """

    def __init__(
        self, addresses: Addresses | None = None, *, timeouts: policy.Timeouts | None = None
    ) -> None:
        addresses = addresses or Addresses()
        self._timeouts = timeouts or policy.Timeouts()
        interceptors = [UnaryCalls(self._timeouts), ResponseStreams(self._timeouts)]
        channels = {
            name: aio.insecure_channel(addresses.of(name), interceptors=interceptors)
            for name in SERVICES
        }
        self._channels = channels
        self._registry = addresses.of("registry")
        self._events = {name: EventServiceStub(channel) for name, channel in channels.items()}
        self._columns: dict[str, tuple[InputColumn, ...]] = {}
        self.datasets = DatasetServiceStub(channels["registry"])
        self.models = ModelServiceStub(channels["registry"])
        self.evaluations = EvaluationServiceStub(channels["registry"])
        self.lineage = LineageServiceStub(channels["registry"])
        self.webhooks = WebhookServiceStub(channels["registry"])
        self.retention = RetentionServiceStub(channels["registry"])
        self.jobs = JobServiceStub(channels["trainer"])
        self.costs = CostServiceStub(channels["trainer"])
        self.queues = QueueServiceStub(channels["trainer"])
        self.endpoints = EndpointServiceStub(channels["inference"])
        self.policies = PolicyServiceStub(channels["inference"])
        self.batches = BatchServiceStub(channels["inference"])
        self.rollouts = RolloutServiceStub(channels["inference"])
        self.oip = oip_grpc.GRPCInferenceServiceStub(channels["inference"])
        self.monitors = MonitorServiceStub(channels["monitor"])
        self.ingest = IngestServiceStub(channels["monitor"])
        self.retraining = RetrainServiceStub(channels["monitor"])
        self.judgements = JudgementServiceStub(channels["monitor"])
        self.alerts = AlertServiceStub(channels["monitor"])
        self.slos = SloServiceStub(channels["monitor"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all channels; streams under way end with them."""
        for channel in self._channels.values():
            await channel.close()

    async def predict(
        self, endpoint: str, inputs: Inputs, options: PredictOptions | None = None
    ) -> Prediction:
        """What the endpoint says about one row, several rows, or columns of rows.

        Raises:
            InvalidInput: The values do not fit the endpoint's inputs, or it tells more than two
                classes.
        """
        if endpoint not in self._columns:
            metadata = await self.oip.ModelMetadata(oip.ModelMetadataRequest(name=endpoint))
            self._columns[endpoint] = columns_of(metadata)
        columns = self._columns[endpoint]
        request = request_of(endpoint, columns, inputs, options or PredictOptions())
        return prediction_of(await self.oip.ModelInfer(request))

    async def watch_events(
        self, service: ServiceName, request: WatchEventsRequest
    ) -> AsyncIterator[Event]:
        """One service's events from `request.cursor` on, across its restarts, none lost or twice.

        Ends with the past unless `request.follow`. While the service is away it is asked again
        without end when following, and for `Timeouts.away_s` otherwise.
        """
        position = WatchEventsRequest()
        position.CopyFrom(request)
        waits = policy.reconnect_delays_s(request, self._timeouts)
        while True:
            try:
                async for response in self._events[service].WatchEvents(position):
                    waits = policy.reconnect_delays_s(request, self._timeouts)
                    position.cursor = response.bookmark or response.event.cursor
                    if response.HasField("event"):
                        yield response.event
            except Unavailable:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
            else:
                return

    async def upload_snapshot_file(
        self,
        snapshot: str,
        file: Path,
        file_format: UploadSnapshotFileRequest.Header.Format.ValueType,
    ) -> SnapshotFile:
        """Adds a file to an open snapshot; the digest makes a repeat harmless."""
        return await self._transferred(
            lambda transfers: transfers.upload_snapshot_file(snapshot, file, file_format)
        )

    async def upload_artifact(
        self,
        version: str,
        path: str,
        file: Path,
        *,
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> ArtifactFile:
        """Adds a file to a version that is being uploaded; a broken stream goes on by itself."""
        return await self._transferred(
            lambda transfers: transfers.upload_artifact(
                version, path, file, on_progress=on_progress
            )
        )

    async def upload_version(
        self,
        model: str,
        files: Path | Mapping[str, Path],
        *,
        version: ModelVersion | None = None,
        resume: str = "",
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> ModelVersion:
        """A new, committed version of a model: `Client.upload_version` without blocking.

        `on_progress` is called in another thread.

        Raises:
            ValueError: There are no files.
        """
        return await self._transferred(
            lambda transfers: transfers.upload_version(
                model, files, version=version, resume=resume, on_progress=on_progress
            )
        )

    async def repair_artifact(self, version: str, path: str, file: Path) -> ArtifactFile:
        """Stores one file of a quarantined version again; only the committed bytes are taken."""
        return await self._transferred(
            lambda transfers: transfers.repair_artifact(version, path, file)
        )

    async def download_version(
        self,
        version: str,
        folder: Path,
        *,
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> Path:
        """A version's files, each checked: `Client.download_version` without blocking.

        `on_progress` is called in another thread.

        Raises:
            DigestMismatch: A file arrived damaged; it was not kept.
            UnsafePath: A file would lie outside of the folder.
        """
        return await self._transferred(
            lambda transfers: transfers.download_version(version, folder, on_progress=on_progress)
        )

    async def _transferred(self, move: Callable[[Transfers], T]) -> T:
        """What `move` gives, in a thread with a channel of its own; over when this is.

        Files are read, hashed and written by calls that block, so nothing is won by moving their
        bytes through the event loop.
        """
        loop = asyncio.get_running_loop()
        with (
            grpc.insecure_channel(self._registry) as channel,
            ThreadPoolExecutor(1, "roundhouse-transfer") as thread,
        ):
            transfers = Transfers(intercepted(channel, self._timeouts), self._timeouts)
            work = loop.run_in_executor(thread, move, transfers)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                transfers.end_transfers()
                channel.close()
                await asyncio.gather(work, return_exceptions=True)
                raise

    async def ingest_outcomes(self, batches: Iterable[IngestOutcomesRequest]) -> int:
        """Reports outcomes; gives the rows that are now durable. A batch may come again."""
        with typed_errors():
            stream = self.ingest.IngestOutcomes(iter(batches), timeout=self._timeouts.transfer_s)
            return sum([response.rows async for response in stream])
