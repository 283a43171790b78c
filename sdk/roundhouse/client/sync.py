"""The client for programs with threads."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from roundhouse.client import bundles, direct, policy, transfer
from roundhouse.client.addresses import SERVICES, Addresses, ServiceName
from roundhouse.client.errors import CallFailed, FailedPrecondition, Unavailable, typed_errors
from roundhouse.client.interceptors import ResponseStreams, UnaryCalls
from roundhouse.client.predictions import (
    InputColumn,
    Inputs,
    Prediction,
    PredictOptions,
    columns_of,
    prediction_of,
    request_of,
)
from roundhouse.common.v1.events_pb2 import Event, WatchEventsRequest
from roundhouse.common.v1.events_pb2_grpc import EventServiceStub
from roundhouse.inference.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from roundhouse.inference.v1.policy_service_pb2_grpc import PolicyServiceStub
from roundhouse.inference.v1.rollout_service_pb2_grpc import RolloutServiceStub
from roundhouse.monitor.v1.ingest_service_pb2 import IngestOutcomesRequest
from roundhouse.monitor.v1.ingest_service_pb2_grpc import IngestServiceStub
from roundhouse.monitor.v1.judgement_service_pb2_grpc import JudgementServiceStub
from roundhouse.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from roundhouse.monitor.v1.retrain_service_pb2_grpc import RetrainServiceStub
from roundhouse.registry.v1.dataset_pb2 import SnapshotFile
from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.dataset_service_pb2_grpc import DatasetServiceStub
from roundhouse.registry.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from roundhouse.registry.v1.lineage_service_pb2_grpc import LineageServiceStub
from roundhouse.registry.v1.model_pb2 import ArtifactFile, ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    BeginVersionUploadRequest,
    CommitVersionRequest,
    GetVersionRequest,
    RepairArtifactRequest,
)
from roundhouse.registry.v1.model_service_pb2_grpc import ModelServiceStub
from roundhouse.registry.v1.retention_service_pb2_grpc import RetentionServiceStub
from roundhouse.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub
from roundhouse.trainer.v1.job_service_pb2_grpc import JobServiceStub
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc


class Client:
    """Calls the four services. The stubs take and give the contracts' own messages.

    Every call has a deadline, carries a request id, is repeated while the service is away if that
    is safe, and fails with a `RoundhouseError`. Threads may share one client. A context manager.

    Attributes:
        datasets, models, evaluations, lineage, retention, webhooks: The registry.
        jobs: The trainer.
        endpoints, policies, rollouts, oip: Inference; `oip` is the Open Inference Protocol.
        monitors, ingest, retraining, judgements: The monitor.
    """

    def __init__(
        self, addresses: Addresses | None = None, *, timeouts: policy.Timeouts | None = None
    ) -> None:
        addresses = addresses or Addresses()
        self._timeouts = timeouts or policy.Timeouts()
        self._raw = {name: grpc.insecure_channel(addresses.of(name)) for name in SERVICES}
        channels = {
            name: grpc.intercept_channel(
                channel, UnaryCalls(self._timeouts), ResponseStreams(self._timeouts)
            )
            for name, channel in self._raw.items()
        }
        self._events = {name: EventServiceStub(channel) for name, channel in channels.items()}
        self._columns: dict[str, tuple[InputColumn, ...]] = {}
        self.datasets = DatasetServiceStub(channels["registry"])
        self.models = ModelServiceStub(channels["registry"])
        self.evaluations = EvaluationServiceStub(channels["registry"])
        self.lineage = LineageServiceStub(channels["registry"])
        self.webhooks = WebhookServiceStub(channels["registry"])
        self.retention = RetentionServiceStub(channels["registry"])
        self.jobs = JobServiceStub(channels["trainer"])
        self.endpoints = EndpointServiceStub(channels["inference"])
        self.policies = PolicyServiceStub(channels["inference"])
        self.rollouts = RolloutServiceStub(channels["inference"])
        self.oip = oip_grpc.GRPCInferenceServiceStub(channels["inference"])
        self.monitors = MonitorServiceStub(channels["monitor"])
        self.ingest = IngestServiceStub(channels["monitor"])
        self.retraining = RetrainServiceStub(channels["monitor"])
        self.judgements = JudgementServiceStub(channels["monitor"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all channels; streams under way end with them."""
        for channel in self._raw.values():
            channel.close()

    def predict(
        self, endpoint: str, inputs: Inputs, options: PredictOptions | None = None
    ) -> Prediction:
        """What the endpoint says about one row, several rows, or columns of rows.

        Raises:
            InvalidInput: The values do not fit the endpoint's inputs.
        """
        if endpoint not in self._columns:
            metadata = self.oip.ModelMetadata(oip.ModelMetadataRequest(name=endpoint))
            self._columns[endpoint] = columns_of(metadata)
        columns = self._columns[endpoint]
        request = request_of(endpoint, columns, inputs, options or PredictOptions())
        return prediction_of(self.oip.ModelInfer(request))

    def watch_events(self, service: ServiceName, request: WatchEventsRequest) -> Iterator[Event]:
        """One service's events from `request.cursor` on, across its restarts, none lost or twice.

        Ends with the past unless `request.follow`. While the service is away it is asked again
        without end when following, and for `Timeouts.away_s` otherwise.
        """
        position = WatchEventsRequest()
        position.CopyFrom(request)
        waits = policy.reconnect_delays_s(request, self._timeouts)
        while True:
            try:
                for response in self._events[service].WatchEvents(position):
                    waits = policy.reconnect_delays_s(request, self._timeouts)
                    position.cursor = response.bookmark or response.event.cursor
                    if response.HasField("event"):
                        yield response.event
            except Unavailable:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                return

    def upload_snapshot_file(
        self,
        snapshot: str,
        file: Path,
        file_format: UploadSnapshotFileRequest.Header.Format.ValueType,
    ) -> SnapshotFile:
        """Adds a file to an open snapshot; the digest makes a repeat harmless."""
        header = UploadSnapshotFileRequest.Header(
            snapshot=snapshot,
            path=file.name,
            format=file_format,
            digest=transfer.digest_of(file),
            request_id=str(uuid.uuid4()),
        )
        parts = transfer.snapshot_parts(header, file)
        with typed_errors():
            return self.datasets.UploadSnapshotFile(parts, timeout=self._timeouts.transfer_s)

    def upload_artifact(
        self,
        version: str,
        path: str,
        file: Path,
        *,
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> ArtifactFile:
        """Adds a file to a version that is being uploaded; a broken stream goes on by itself."""
        local = bundles.LocalFile.of(file, path)
        return self._upload(version, local, on_progress)

    def upload_version(
        self,
        model: str,
        files: Path | Mapping[str, Path],
        *,
        version: ModelVersion | None = None,
        resume: str = "",
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> ModelVersion:
        """A new, committed version of a model; broken streams go on by themselves.

        Args:
            model: Resource name.
            files: A folder, or files by their paths in the bundle; the manifest is made here.
            version: Labels and ancestry of the new version.
            resume: Version whose upload was begun and not committed, to go on with instead of
                a new one.
            on_progress: Is told how far each file is.

        Raises:
            ValueError: There are no files.
        """
        with tempfile.TemporaryDirectory() as scratch:
            local, digest = bundles.bundle_of(files, Path(scratch))
            name = (
                resume
                or (
                    self.models.BeginVersionUpload(
                        BeginVersionUploadRequest(parent=model, version=version or ModelVersion())
                    )
                ).name
            )
            for each in local:
                self._upload(name, each, on_progress, asks_first=bool(resume))
            return self.models.CommitVersion(
                CommitVersionRequest(name=name, manifest_digest=digest),
                timeout=self._timeouts.transfer_s,
            )

    def _upload(
        self,
        version: str,
        local: bundles.LocalFile,
        on_progress: bundles.OnProgress,
        *,
        asks_first: bool = False,
    ) -> ArtifactFile:
        upload = bundles.Upload(version, local, on_progress, self._timeouts.away_s)
        if asks_first:
            upload.offset = (self.models.GetUploadProgress(upload.progress_request)).received_bytes
        while True:
            try:
                with typed_errors():
                    return self.models.UploadArtifact(
                        upload.parts(), timeout=self._timeouts.transfer_s
                    )
            except CallFailed as failure:
                if not bundles.may_go_on(failure):
                    raise
                found = self.models.GetUploadProgress(upload.progress_request)
                wait_s = upload.wait_s(failure, found.received_bytes)
            time.sleep(wait_s)

    def repair_artifact(self, version: str, path: str, file: Path) -> ArtifactFile:
        """Stores one file of a quarantined version again; only the committed bytes are taken."""
        header = RepairArtifactRequest.Header(
            version=version,
            path=path,
            digest=transfer.digest_of(file),
            request_id=str(uuid.uuid4()),
        )
        parts = transfer.repair_parts(header, file)
        with typed_errors():
            return self.models.RepairArtifact(parts, timeout=self._timeouts.transfer_s)

    def download_version(
        self,
        version: str,
        folder: Path,
        *,
        on_progress: bundles.OnProgress = bundles.no_progress,
    ) -> Path:
        """Fetches a version's files into `folder`, each checked against its digest.

        A broken download goes on by itself, and a later one goes on where an earlier one ended.
        Files that are there already and right are left alone.

        Args:
            version: Resource name of a version or an alias.
            folder: Gets the files; made if missing.
            on_progress: Is told how far each file is.

        Raises:
            DigestMismatch: A file arrived damaged; it was not kept.
            UnsafePath: A file would lie outside of the folder.
        """
        found = self.models.GetVersion(GetVersionRequest(name=version))
        for artifact in found.files:
            download = bundles.Download(
                found.name, artifact, folder, on_progress, self._timeouts.away_s
            )
            if not download.is_there():
                with closing(download):
                    download.open()
                    self._download_past_registry(found.name, download)
                    self._download(download)
                    download.finish()
        bundles.write_manifest(found, folder)
        return folder

    def _download_past_registry(self, version: str, download: bundles.Download) -> None:
        request = direct.url_request(version, download)
        if request is not None:
            with suppress(FailedPrecondition):  # the registry's store has no URLs
                (offer,) = self.models.CreateDownloadUrls(request).urls
                direct.read_from(offer.url, download)

    def _download(self, download: bundles.Download) -> None:
        while True:
            try:
                for part in self.models.DownloadArtifact(download.request):
                    download.write(part.chunk)
            except CallFailed as failure:
                wait_s = download.wait_s(failure)
            else:
                return
            time.sleep(wait_s)

    def ingest_outcomes(self, batches: Iterable[IngestOutcomesRequest]) -> int:
        """Reports outcomes; gives the rows that are now durable. A batch may come again."""
        with typed_errors():
            stream = self.ingest.IngestOutcomes(iter(batches), timeout=self._timeouts.transfer_s)
            return sum(response.rows for response in stream)
