"""What batch predictions ask the registry: snapshots, aliases and signatures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import grpc
from roundhouse.registry.v1 import dataset_pb2 as pb
from roundhouse.registry.v1 import dataset_service_pb2 as datasets
from roundhouse.registry.v1 import dataset_service_pb2_grpc as datasets_grpc
from roundhouse.registry.v1 import model_service_pb2 as models
from roundhouse.registry.v1 import model_service_pb2_grpc as models_grpc

from services.common.errors import ServiceError
from services.common.rpc.pins import RegistryPins, Reliance
from services.common.rpc.remote import (
    DependencyUnavailable,
    RemoteError,
    as_own_failure,
    remote_errors,
)
from services.inference.adapters.registry_client import RegistryClient
from services.inference.core.batches import InputColumn, InputFile, InputSnapshot
from services.inference.core.errors import SnapshotNotUsable, VersionNotServable
from services.inference.core.signature import Signature, parse_signature

_REGISTRY: Final = "registry"
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.DATA_LOSS,
    }
)


class SnapshotClient:
    """Implements `BatchCatalog`, and gives the bytes of snapshots.

    Args:
        channel: To the registry.
        versions: The registry's versions.
        pins: Of batch prediction jobs.
    """

    def __init__(
        self, channel: grpc.aio.Channel, versions: RegistryClient, pins: RegistryPins
    ) -> None:
        self._datasets = datasets_grpc.DatasetServiceStub(channel)
        self._models = models_grpc.ModelServiceStub(channel)
        self._versions = versions
        self._pins = pins

    async def snapshot(self, name: str) -> InputSnapshot:
        """See `BatchCatalog`."""
        try:
            with remote_errors(_REGISTRY):
                found = await self._datasets.GetSnapshot(datasets.GetSnapshotRequest(name=name))
        except RemoteError as error:
            raise _snapshot_failure(name, error) from error
        if found.state != pb.DatasetSnapshot.STATE_SEALED:
            state = pb.DatasetSnapshot.State.Name(found.state).removeprefix("STATE_")
            raise SnapshotNotUsable(name, f"it is {state}, not SEALED")
        if found.privacy_hold:
            raise SnapshotNotUsable(name, f"the privacy hold {found.privacy_hold} is on it")
        return InputSnapshot(
            name=found.name,
            digest=found.digest,
            files=tuple(
                InputFile(file.path, file.digest, file.size_bytes, file.rows)
                for file in found.files
            ),
            columns=tuple(
                InputColumn(column.name, column.data_type, column.null_count)
                for column in found.columns
            ),
            key_columns=tuple(found.key_columns),
        )

    async def version_of(self, model: str) -> str:
        """See `BatchCatalog`."""
        if "/aliases/" not in model:
            return model
        try:
            with remote_errors(_REGISTRY):
                found = await self._models.GetAlias(models.GetAliasRequest(name=model))
        except RemoteError as error:
            if error.code in _REFUSALS:
                raise VersionNotServable(model, f"the registry says {error.message}") from error
            raise _passing(error) from error
        return found.version

    async def digest_of(self, version: str) -> str:
        """See `BatchCatalog`."""
        return await self._versions.digest_of(version)

    async def signature(self, version: str) -> Signature:
        """See `BatchCatalog`."""
        parts = [part async for part in self._versions.read(version, "signature.json")]
        return parse_signature(b"".join(parts))

    async def pin(self, job: str, target: str) -> None:
        """See `BatchCatalog`."""
        try:
            await self._pins.pin(Reliance(job, target))
        except RemoteError as error:
            if error.code in _REFUSALS:
                raise SnapshotNotUsable(target, f"the registry says {error.message}") from error
            raise _passing(error) from error

    async def download(self, snapshot: str, path: str) -> AsyncGenerator[bytes]:
        """The bytes of one file of a snapshot, in order, unverified.

        Raises:
            SnapshotNotUsable: The registry no longer has it.
            Unavailable: The registry is away.
        """
        request = datasets.DownloadSnapshotFileRequest(snapshot=snapshot, path=path)
        try:
            with remote_errors(_REGISTRY):
                async for part in self._datasets.DownloadSnapshotFile(request):
                    yield part.chunk
        except RemoteError as error:
            raise _snapshot_failure(snapshot, error) from error


def _snapshot_failure(snapshot: str, error: RemoteError) -> ServiceError:
    if error.code in _REFUSALS:
        return SnapshotNotUsable(snapshot, f"the registry says {error.reason}: {error.message}")
    return _passing(error)


def _passing(error: RemoteError) -> ServiceError:
    return as_own_failure(error) or DependencyUnavailable(error.peer)
