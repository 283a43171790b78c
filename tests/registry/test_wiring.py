from __future__ import annotations

from pathlib import Path

import pytest
from roundhouse.registry.v1 import dataset_service_pb2, model_service_pb2

from services.common.blobs.errors import UnsafeStoreError
from tests.support.calls import TIMEOUT_S
from tests.support.registry_api import BUNDLE, digest_of, running_registry
from tests.support.seaweedfs import S3Server


async def test_bytes_come_back_from_postgresql_and_s3_after_a_restart(
    tmp_path: Path, postgres_url: str, s3_url: str, s3_server: S3Server
) -> None:
    connection = s3_server.connection
    settings = {
        "database_url": postgres_url,
        "blob_url": s3_url,
        "s3_endpoint": connection.endpoint,
        "s3_access_key": connection.access_key,
        "s3_secret_key": connection.secret_key,
        "s3_secure": connection.secure,
        "s3_region": connection.region,
    }
    files = {**BUNDLE, "weights.data": bytes(range(256)) * 40_000}
    async with running_registry(tmp_path / "one", **settings) as caller:
        version = await caller.ready_version(await caller.create_model(), files)
        snapshot = await caller.sealed_snapshot()
    async with running_registry(tmp_path / "two", **settings) as caller:
        for path, data in files.items():
            stream = caller.models.DownloadArtifact(
                model_service_pb2.DownloadArtifactRequest(version=version, path=path),
                timeout=TIMEOUT_S,
            )
            assert b"".join([part.chunk async for part in stream]) == data
        stored = await caller.datasets.GetSnapshot(
            dataset_service_pb2.GetSnapshotRequest(name=snapshot), timeout=TIMEOUT_S
        )
        chunks = caller.datasets.DownloadSnapshotFile(
            dataset_service_pb2.DownloadSnapshotFileRequest(
                snapshot=snapshot, path=stored.files[0].path
            ),
            timeout=TIMEOUT_S,
        )
        content = b"".join([part.chunk async for part in chunks])
        assert digest_of(content) == stored.files[0].digest


async def test_a_bucket_that_is_absent_stops_the_start(tmp_path: Path, s3_server: S3Server) -> None:
    connection = s3_server.connection
    with pytest.raises(UnsafeStoreError):
        async with running_registry(
            tmp_path,
            blob_url="s3://no-such-bucket/prefix",
            s3_endpoint=connection.endpoint,
            s3_access_key=connection.access_key,
            s3_secret_key=connection.secret_key,
            s3_secure=connection.secure,
        ):
            raise AssertionError("it started")
