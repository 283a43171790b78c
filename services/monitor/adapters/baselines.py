"""Baselines of versions, from the registry."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import structlog
from roundhouse.registry.v1 import dataset_pb2 as snapshot_pb
from roundhouse.registry.v1 import dataset_service_pb2 as dataset_pb
from roundhouse.registry.v1 import dataset_service_pb2_grpc as dataset_grpc
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluation_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluation_grpc
from roundhouse.registry.v1 import model_pb2, model_service_pb2
from roundhouse.registry.v1 import model_service_pb2_grpc as model_grpc

from services.common.profiles import Profile
from services.common.reading_profiles import MOST_BYTES, ProfileFault, read_profile
from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import DependencyUnavailable, RemoteError, remote_errors
from services.monitor.core.stream.ports import Baseline

log = structlog.get_logger()

_PATH: Final = "profile.json"
_PEER: Final = "registry"
_TIMEOUT_S: Final = 30.0


class RegistryBaselines:
    """Implements `Baselines`.

    Args:
        channel: To the registry.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._models = model_grpc.ModelServiceStub(channel)
        self._evaluations = evaluation_grpc.EvaluationServiceStub(channel)
        self._datasets = dataset_grpc.DatasetServiceStub(channel)

    async def baseline(self, version: str) -> Baseline:
        """See `Baselines`."""
        try:
            with remote_errors(_PEER):
                found = await self._models.GetVersion(
                    model_service_pb2.GetVersionRequest(name=version)
                )
                profile = await self._profile(found)
                snapshots = [await self._snapshot(name) for name in found.snapshots]
                ends = [from_timestamp(each.end_time) for each in snapshots if _has_end(each)]
                return Baseline(
                    profile=profile,
                    test_metrics=await self._test_metrics(version),
                    trained_until=max(ends, default=None),
                    columns=frozenset(profile.features if profile else ()).union(
                        column.name for each in snapshots for column in each.columns
                    ),
                )
        except RemoteError as error:
            if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                log.warning("baseline.unknown_version", version=version, reason=error.reason)
                return Baseline()
            raise DependencyUnavailable(_PEER) from error

    async def _profile(self, version: model_pb2.ModelVersion) -> Profile | None:
        """None where the version has none, or one that can't be used: anybody may upload one."""
        file = next((file for file in version.files if file.path == _PATH), None)
        if file is None:
            return None
        try:
            content = await self._content(version.name, file)
            return await asyncio.to_thread(read_profile, content)
        except ProfileFault as error:
            log.warning("baseline.unusable_profile", version=version.name, reason=str(error))
            return None

    async def _content(self, version: str, file: model_pb2.ArtifactFile) -> bytes:
        if file.size_bytes > MOST_BYTES:
            raise ProfileFault(f"{file.path} has {file.size_bytes:,} bytes; {MOST_BYTES:,} is most")
        request = model_service_pb2.DownloadArtifactRequest(version=version, path=file.path)
        parts = self._models.DownloadArtifact(request, timeout=_TIMEOUT_S)
        return b"".join([part.chunk async for part in parts])

    async def _test_metrics(self, version: str) -> dict[str, float]:
        """Of its oldest test; to be scored as the baseline of a candidate is none."""
        request = evaluation_pb.ListEvaluationsRequest(
            parent=version, filter="purpose = TEST", page_size=1000
        )
        page = await self._evaluations.ListEvaluations(request)
        return dict(page.evaluations[-1].metrics) if page.evaluations else {}

    async def _snapshot(self, name: str) -> snapshot_pb.DatasetSnapshot:
        return await self._datasets.GetSnapshot(dataset_pb.GetSnapshotRequest(name=name))


def _has_end(snapshot: snapshot_pb.DatasetSnapshot) -> bool:
    return snapshot.HasField("end_time")
