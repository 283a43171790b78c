"""The registry, as the trainer and its workers use it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
import structlog
from roundhouse.registry.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
)

from services.common.rpc.remote import RemoteError, remote_errors
from services.trainer.adapters.evaluation_record import EvaluationRecord, evaluation_to_proto
from services.trainer.core.errors import SnapshotHeld, UnusableSnapshot
from services.trainer.core.failures import DataFault, DependencyAway
from services.trainer.core.purposes import Purpose

log = structlog.get_logger()
T = TypeVar("T")

PEER: Final = "registry"
CHUNK_BYTES: Final = 1 << 20
TRANSFER_TIMEOUT_S: Final = 120.0
PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
LONGEST_PAUSE_S: Final = 5.0
_LEDGER_REFUSALS: Final = frozenset({"TEST_SET_TOUCHED", "SELECTION_ON_TEST_SET"})


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """A sealed snapshot.

    Attributes:
        name: Resource name.
        digest: Of its manifest.
        files: Digest of each Parquet file by path, in the snapshot's order.
        columns: Arrow type of each column.
    """

    name: str
    digest: str
    files: Mapping[str, str]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Registration:
    """A version to be made.

    Attributes:
        model: Model that gets it.
        training_job: Job that made it.
        snapshot: That it was trained on.
        parent_version: That it descends from; may be empty.
        labels: Of the version.
        files: Of the bundle, by path, `manifest.json` among them.
        manifest_digest: Digest of `manifest.json`.
    """

    model: str
    training_job: str
    snapshot: str
    parent_version: str
    labels: Mapping[str, str]
    files: Mapping[str, bytes]
    manifest_digest: str


class RegistryClient:
    """Calls the registry; what is passing is tried again for as long as there is patience.

    Args:
        channel: From `connect`.
        patience_s: How long the registry may be away before a call gives up.
    """

    def __init__(self, channel: grpc.aio.Channel, *, patience_s: float) -> None:
        self._datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        self._patience_s = patience_s

    async def snapshot(self, name: str) -> SnapshotRef:
        """A sealed snapshot.

        Raises:
            UnusableSnapshot: There is none of this name, or it is not sealed.
            SnapshotHeld: A privacy hold is on it.
            DependencyAway: The registry does not answer.
        """
        request = dataset_service_pb2.GetSnapshotRequest(name=name)
        try:
            found = await self._patiently(lambda: self._datasets.GetSnapshot(request))
        except RemoteError as error:
            if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise UnusableSnapshot(f"is {name!r}, which the registry doesn't have") from error
            raise
        if found.state != dataset_pb2.DatasetSnapshot.STATE_SEALED:
            raise UnusableSnapshot(f"is {name!r}, which is not sealed or was collected")
        if found.privacy_hold:
            raise SnapshotHeld(name, found.privacy_hold)
        return SnapshotRef(
            name=found.name,
            digest=found.digest,
            files={file.path: file.digest for file in found.files},
            columns={column.name: column.data_type for column in found.columns},
        )

    async def snapshot_file(self, snapshot: SnapshotRef, path: str) -> bytes:
        """The bytes of one Parquet file of a snapshot, verified.

        Raises:
            DataFault: They are not what the snapshot's manifest says.
            DependencyAway: The registry does not answer.
        """

        def stream(offset: int) -> AsyncIterable[dataset_service_pb2.DownloadSnapshotFileResponse]:
            return self._datasets.DownloadSnapshotFile(
                dataset_service_pb2.DownloadSnapshotFileRequest(
                    snapshot=snapshot.name, path=path, offset_bytes=offset
                ),
                timeout=TRANSFER_TIMEOUT_S,
            )

        return _verified(await self._downloaded(stream), snapshot.files[path], path)

    async def version(self, name: str) -> model_pb2.ModelVersion:
        """One version.

        Raises:
            RemoteError: NOT_FOUND, if there is none.
            DependencyAway: The registry does not answer.
        """
        request = model_service_pb2.GetVersionRequest(name=name)
        return await self._patiently(lambda: self._models.GetVersion(request))

    async def artifact(self, version: model_pb2.ModelVersion, path: str) -> bytes:
        """One file of a committed version, verified.

        Raises:
            DataFault: It is missing or not what the version's manifest says.
            DependencyAway: The registry does not answer.
        """
        digests = {file.path: file.digest for file in version.files}
        if path not in digests:
            raise DataFault(f"version {version.name} has no {path}")

        def stream(offset: int) -> AsyncIterable[model_service_pb2.DownloadArtifactResponse]:
            return self._models.DownloadArtifact(
                model_service_pb2.DownloadArtifactRequest(
                    version=version.name, path=path, offset_bytes=offset
                ),
                timeout=TRANSFER_TIMEOUT_S,
            )

        return _verified(await self._downloaded(stream), digests[path], path)

    async def register(self, registration: Registration, key: uuid.UUID) -> str:
        """The committed version; the same `key` always gives the same one.

        Raises:
            DependencyAway: The registry does not answer.
            RemoteError: It refuses.
        """
        begun = model_service_pb2.BeginVersionUploadRequest(
            parent=registration.model,
            version=model_pb2.ModelVersion(
                training_job=registration.training_job,
                snapshots=[registration.snapshot],
                parent_version=registration.parent_version,
                labels=registration.labels,
            ),
            request_id=_derived(key, "begin"),
        )
        name = (await self._patiently(lambda: self._models.BeginVersionUpload(begun))).name
        if (await self.version(name)).state == model_pb2.ModelVersion.STATE_READY:
            # An earlier attempt died between its commit and its report.
            return name
        for path, data in registration.files.items():
            await self._upload(name, path, data, key)
        commit = model_service_pb2.CommitVersionRequest(
            name=name,
            manifest_digest=registration.manifest_digest,
            request_id=_derived(key, f"commit {registration.manifest_digest}"),
        )
        await self._patiently(lambda: self._models.CommitVersion(commit))
        return name

    async def abandon(self, model: str, training_job: str, key: uuid.UUID) -> None:
        """Give up the upload that `register` began under `key`, if it did.

        Raises:
            DependencyAway: The registry does not answer.
        """
        request = model_service_pb2.ListVersionsRequest(
            parent=model, filter=f'training_job = "{training_job}" AND state = UPLOADING'
        )
        listed = await self._patiently(lambda: self._models.ListVersions(request))
        for version in listed.versions:
            abort = model_service_pb2.AbortVersionUploadRequest(
                name=version.name, request_id=_derived(key, f"abort {version.name}")
            )
            await self._abort(abort)

    async def record(self, record: EvaluationRecord, key: uuid.UUID) -> str:
        """The recorded evaluation's name; the same `key` always gives the same one.

        Raises:
            DataFault: The ledger of test sets forbids this use of the rows.
            DependencyAway: The registry does not answer.
            RemoteError: It refuses.
        """
        request = evaluation_service_pb2.RecordEvaluationRequest(
            parent=record.version,
            evaluation=evaluation_to_proto(record),
            request_id=_derived(key, f"evaluation {record.split_digest}"),
        )
        try:
            recorded = await self._patiently(lambda: self._evaluations.RecordEvaluation(request))
        except RemoteError as error:
            if error.reason == "REQUEST_ID_REUSED":
                # An earlier attempt recorded the same scores, with its own latency.
                return await self._recorded(record)
            if error.reason in _LEDGER_REFUSALS:
                raise DataFault(error.message) from error
            raise
        return recorded.name

    async def looks_at(
        self, snapshot: str, split_digest: str, purposes: Collection[Purpose]
    ) -> dict[str, str]:
        """The evaluation of each version that these rows have judged, by version.

        Args:
            snapshot: That the rows are of.
            split_digest: Identity of the rows.
            purposes: That count.

        Raises:
            DependencyAway: The registry does not answer.
        """
        found: dict[str, str] = {}
        request = evaluation_service_pb2.ListTestSetTouchesRequest(
            parent="/".join(snapshot.split("/")[:2]),
            page_size=1000,
            filter=f'snapshot = "{snapshot}" AND split_digest = "{split_digest}"',
        )
        while True:
            page = await self._patiently(lambda: self._evaluations.ListTestSetTouches(request))
            for touch in page.touches:
                purpose = evaluation_pb2.Evaluation.Purpose.Name(touch.purpose)
                if Purpose(purpose.removeprefix("PURPOSE_")) in purposes:
                    found[touch.version] = touch.evaluation
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def line_of(self, name: str) -> list[model_pb2.ModelVersion]:
        """A version and those that it descends from, newest first, as far as they are there.

        Raises:
            DependencyAway: The registry does not answer.
        """
        line: dict[str, model_pb2.ModelVersion] = {}
        while name and name not in line:
            try:
                line[name] = await self.version(name)
            except RemoteError as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
                break
            name = line[name].parent_version
        return list(line.values())

    async def _recorded(self, record: EvaluationRecord) -> str:
        request = evaluation_service_pb2.ListEvaluationsRequest(
            parent=record.version,
            filter=f'split_digest = "{record.split_digest}" AND purpose = {record.purpose}',
        )
        listed = await self._patiently(lambda: self._evaluations.ListEvaluations(request))
        return listed.evaluations[0].name

    async def _abort(self, request: model_service_pb2.AbortVersionUploadRequest) -> None:
        await self._patiently(lambda: self._models.AbortVersionUpload(request))

    async def _upload(self, version: str, path: str, data: bytes, key: uuid.UUID) -> None:
        """Send one file; a stream that breaks is followed by one with the rest."""
        digest = _digest(data)
        progress = model_service_pb2.GetUploadProgressRequest(
            version=version, path=path, digest=digest
        )

        async def parts(offset: int) -> AsyncIterator[model_service_pb2.UploadArtifactRequest]:
            yield model_service_pb2.UploadArtifactRequest(
                header=model_service_pb2.UploadArtifactRequest.Header(
                    version=version,
                    path=path,
                    digest=digest,
                    request_id=_derived(key, f"upload {path} {digest}"),
                    offset_bytes=offset,
                )
            )
            for start in range(offset, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                yield model_service_pb2.UploadArtifactRequest(chunk=chunk)

        async def go_on() -> None:
            # An earlier attempt, perhaps of a process that died, may have sent some of it.
            received = (await self._models.GetUploadProgress(progress)).received_bytes
            await self._models.UploadArtifact(parts(received), timeout=TRANSFER_TIMEOUT_S)

        await self._patiently(go_on)

    async def _downloaded(
        self,
        stream: Callable[
            [int],
            AsyncIterable[
                dataset_service_pb2.DownloadSnapshotFileResponse
                | model_service_pb2.DownloadArtifactResponse
            ],
        ],
    ) -> bytes:
        """All bytes of a file; a stream that breaks is followed by one with the rest.

        Args:
            stream: The file's bytes from an offset on.
        """
        received = bytearray()

        async def go_on() -> None:
            async for part in stream(len(received)):
                received.extend(part.chunk)

        await self._patiently(go_on)
        return bytes(received)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        give_up = clock() + self._patience_s
        pause_s = 0.2
        while True:
            try:
                with remote_errors(PEER):
                    return await call()
            except RemoteError as error:
                if error.code not in PASSING:
                    raise
                if clock() + pause_s > give_up:
                    raise DependencyAway(
                        f"the registry was away for {self._patience_s:.0f} s: {error}"
                    ) from error
                log.warning("registry.retried", code=error.code.name, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _derived(key: uuid.UUID, step: str) -> str:
    return str(uuid.uuid5(key, step))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _verified(data: bytes, digest: str, path: str) -> bytes:
    found = _digest(data)
    if found != digest:
        raise DataFault(f"{path} has digest {found} instead of {digest}")
    return data
