"""Files moved between this machine and the registry; the transfers of both clients."""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import grpc
from roundhouse.client import bundles, direct, policy, transfer
from roundhouse.client.errors import CallFailed, FailedPrecondition, RoundhouseError, typed_errors
from roundhouse.registry.v1.dataset_pb2 import SnapshotFile
from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.dataset_service_pb2_grpc import DatasetServiceStub
from roundhouse.registry.v1.model_pb2 import ArtifactFile, ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    BeginVersionUploadRequest,
    CommitVersionRequest,
    GetVersionRequest,
    RepairArtifactRequest,
)
from roundhouse.registry.v1.model_service_pb2_grpc import ModelServiceStub


class TransferEnded(RoundhouseError):
    """The transfer was called off; what had come or gone is taken up by the next one."""

    def __init__(self) -> None:
        super().__init__("The transfer was called off.")


class Transfers:
    """Uploads and downloads that block, and go on by themselves where they break off.

    Args:
        registry: Channel to it.
        timeouts: Of calls and of absences.
    """

    def __init__(self, registry: grpc.Channel, timeouts: policy.Timeouts) -> None:
        self._timeouts = timeouts
        self._ended = threading.Event()
        self.datasets = DatasetServiceStub(registry)
        self.models = ModelServiceStub(registry)

    def end_transfers(self) -> None:
        """Make those under way in other threads, and all later ones, fail with TransferEnded.

        A call that waits for the registry ends only with its channel.
        """
        self._ended.set()

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
        return self._upload(version, bundles.LocalFile.of(file, path), on_progress)

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
            on_progress: Is told how far each file is, in a thread of gRPC's.

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
        Files that are there already and right are left alone. Nothing is forced to the disk, for
        the registry has it all: after a power failure download again, which reads what is there
        and fetches what is not right.

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
                found.name, artifact, folder, self._telling(on_progress), self._timeouts.away_s
            )
            if not download.is_there():
                with closing(download):
                    download.open()
                    self._download_past_registry(found.name, download)
                    self._download(download)
                    download.finish()
        bundles.write_manifest(found, folder)
        return folder

    def _upload(
        self,
        version: str,
        local: bundles.LocalFile,
        on_progress: bundles.OnProgress,
        *,
        asks_first: bool = False,
    ) -> ArtifactFile:
        upload = bundles.Upload(version, local, self._telling(on_progress), self._timeouts.away_s)
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
            self._wait(wait_s)

    def _download_past_registry(self, version: str, download: bundles.Download) -> None:
        """As much of it as URLs give; one that breaks off or expires is followed by another."""
        came = -1
        with suppress(FailedPrecondition):  # the registry's store has no URLs
            while download.done_bytes > came and direct.is_worth_a_url(download):
                came = download.done_bytes
                request = direct.url_request(version, download)
                (offer,) = self.models.CreateDownloadUrls(request).urls
                direct.read_from(offer.url, download)

    def _download(self, download: bundles.Download) -> None:
        """The rest, if there is any, by way of the registry."""
        while download.missing_bytes:
            try:
                for part in self.models.DownloadArtifact(download.request):
                    download.write(part.chunk)
            except CallFailed as failure:
                wait_s = download.wait_s(failure)
            else:
                return
            self._wait(wait_s)

    def _telling(self, on_progress: bundles.OnProgress) -> bundles.OnProgress:
        """The same, for a transfer that can be called off."""

        def tell(progress: bundles.TransferProgress) -> None:
            if self._ended.is_set():
                raise TransferEnded
            on_progress(progress)

        return tell

    def _wait(self, wait_s: float) -> None:
        if self._ended.wait(wait_s):
            raise TransferEnded
