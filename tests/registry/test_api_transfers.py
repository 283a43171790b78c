"""Uploads that break off and go on."""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from roundhouse.registry.v1 import model_pb2, model_service_pb2

from services.common.blobs.checkpoints import PARTIAL_PREFIX
from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from services.common.blobs.staging import Staging
from services.common.clock import utc_now
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.processes import ServerProcess, free_ports, interpreter_environment
from tests.support.registry_api import (
    BUNDLE,
    MANIFEST,
    RegistryCaller,
    digest_of,
    manifest_of,
    running_registry,
)
from tests.support.seaweedfs import S3Server

pb, service_pb = model_pb2, model_service_pb2


PATH = "rows.csv"


MIB = 1 << 20


DATA = b"".join(b"%07d\n" % row for row in range(20 * MIB // 8))


"""20 MiB."""


def header_of(version: str, data: bytes, /, **fields: Any) -> service_pb.UploadArtifactRequest:
    request_type = service_pb.UploadArtifactRequest
    values = {
        "version": version,
        "path": PATH,
        "digest": digest_of(data),
        "request_id": request_id(),
        **fields,
    }
    return request_type(header=request_type.Header(**values))


async def progress(
    caller: RegistryCaller, version: str, data: bytes, path: str = PATH
) -> service_pb.UploadProgress:
    return await caller.models.GetUploadProgress(
        service_pb.GetUploadProgressRequest(version=version, path=path, digest=digest_of(data)),
        timeout=TIMEOUT_S,
    )


async def break_off(
    caller: RegistryCaller, header: service_pb.UploadArtifactRequest, data: bytes
) -> None:
    """Send the header and `data`, wait until that has left, and cancel."""
    call = caller.models.UploadArtifact(timeout=TIMEOUT_S)
    await call.write(header)
    for start in range(0, len(data), MIB):
        await call.write(service_pb.UploadArtifactRequest(chunk=data[start : start + MIB]))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def end_early(
    caller: RegistryCaller, header: service_pb.UploadArtifactRequest, data: bytes
) -> None:
    """Send the header and `data`, and say that this is all."""
    chunk = service_pb.UploadArtifactRequest(chunk=data)
    await caller.models.UploadArtifact([header, chunk], timeout=TIMEOUT_S)


async def settled_progress(caller: RegistryCaller, version: str, data: bytes, expected: int) -> int:
    """The progress, once the registry has seen the stream's end; at most what was sent."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        received = (await progress(caller, version, data)).received_bytes
        assert received <= expected
        if received or asyncio.get_running_loop().time() > deadline:
            return received
        await asyncio.sleep(0.01)


async def send(
    caller: RegistryCaller, version: str, data: bytes, offset: int, **fields: Any
) -> model_pb2.ArtifactFile:
    chunks = [
        service_pb.UploadArtifactRequest(chunk=data[start : start + MIB])
        for start in range(offset, len(data), MIB)
    ]
    header = header_of(version, data, offset_bytes=offset, **fields)
    return await caller.models.UploadArtifact([header, *chunks], timeout=TIMEOUT_S)


async def open_version(caller: RegistryCaller) -> str:
    return await caller.begin(await caller.create_model())


async def test_a_cancelled_upload_goes_on_where_it_broke_off(caller: RegistryCaller) -> None:
    version = await open_version(caller)
    same = {"request_id": request_id(), "size_bytes": len(DATA)}
    await break_off(caller, header_of(version, DATA, **same), DATA[: 9 * MIB])
    received = await settled_progress(caller, version, DATA, 9 * MIB)

    file = await send(caller, version, DATA, received, **same)

    assert (file.digest, file.size_bytes) == (digest_of(DATA), len(DATA))
    assert await progress(caller, version, DATA) == service_pb.UploadProgress(
        received_bytes=len(DATA), complete=True
    )
    assert await send(caller, version, DATA, len(DATA), **same) == file, "its answer was lost"
    files = {**BUNDLE, PATH: DATA}
    for path, data in {**BUNDLE, MANIFEST: manifest_of(files)}.items():
        if path != PATH:
            await caller.upload_artifact(version, path, data)
    assert (await caller.commit(version, digest_of(manifest_of(files)))).digest


@settings(max_examples=3)
@given(cuts=st.lists(st.integers(1, 3 * MIB), min_size=1, max_size=2))
def test_an_upload_survives_restarts_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    data = DATA[: 3 * MIB]
    folder = tmp_path_factory.mktemp("restarted")

    async def run() -> None:
        async with running_registry(folder) as caller:
            version = await open_version(caller)
        received = 0
        for cut in cuts:
            async with running_registry(folder) as caller:
                header = header_of(version, data, offset_bytes=received)
                await break_off(caller, header, data[received : max(cut, received)])
            async with running_registry(folder) as caller:
                now = (await progress(caller, version, data)).received_bytes
                assert received <= now <= max(cut, received)
                received = now
        async with running_registry(folder) as caller:
            await send(caller, version, data, received)

    asyncio.run(run())


async def test_a_version_whose_registry_was_killed_in_mid_upload_gets_its_file(
    tmp_path: Path, s3_server: S3Server, s3_url: str
) -> None:
    data = b"x" * (72 * MIB)
    port = free_ports(1)[0]
    connection = s3_server.connection
    settings_of = {
        "LISTEN": f"127.0.0.1:{port}",
        "METRICS_LISTEN": "127.0.0.1:0",
        "DATA_DIR": str(tmp_path / "registry"),
        "BLOB_URL": s3_url,
        "S3_ENDPOINT": connection.endpoint,
        "S3_ACCESS_KEY": connection.access_key,
        "S3_SECRET_KEY": connection.secret_key,
        "S3_SECURE": "false",
    }
    environment = {
        **interpreter_environment(),
        **{f"ROUNDHOUSE_REGISTRY_{name}": value for name, value in settings_of.items()},
    }

    def started() -> ServerProcess:
        process = ServerProcess(
            [sys.executable, "-m", "services.registry"],
            log=tmp_path / "registry.log",
            environment=environment,
        )
        process.wait_until_ready(lambda: True, ports=[port])
        return process

    process = started()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            caller = RegistryCaller(channel)
            version = await open_version(caller)
            call = caller.models.UploadArtifact(timeout=TIMEOUT_S)
            await call.write(header_of(version, data))
            for start in range(0, len(data), MIB):
                await call.write(service_pb.UploadArtifactRequest(chunk=data[start : start + MIB]))
            received = await settled_progress(caller, version, data, len(data))
            process.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        process = started()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            caller = RegistryCaller(channel)
            again = (await progress(caller, version, data)).received_bytes
            assert again >= received >= 32 * MIB
            assert (await send(caller, version, data, again)).digest == digest_of(data)
    finally:
        process.kill()


@pytest.mark.parametrize("offset", [1, 7, 9 * MIB])
async def test_a_stream_that_leaves_a_gap_is_refused_with_what_has_arrived(
    caller: RegistryCaller, offset: int
) -> None:
    version = await open_version(caller)
    with refused() as refusal:
        await send(caller, version, DATA[: offset + MIB], offset)
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "UPLOAD_OFFSET_MISMATCH")
    assert refusal.metadata["received_bytes"] == "0"


async def test_code_is_not_smuggled_in_by_breaking_off_within_its_magic(
    caller: RegistryCaller,
) -> None:
    version = await open_version(caller)
    data = pickle.dumps({"a": 1}) * 100
    await break_off(caller, header_of(version, data), data[:1])
    assert (await progress(caller, version, data)).received_bytes == 0
    with refused() as refusal:
        await send(caller, version, data, 1)
    assert refusal.reason == "UPLOAD_OFFSET_MISMATCH"
    with refused() as refusal:
        await send(caller, version, data, 0)
    assert refusal.reason == "UNSAFE_FORMAT"


async def test_a_stream_of_another_size_than_declared_is_refused(caller: RegistryCaller) -> None:
    version = await open_version(caller)
    for size in (len(DATA) - 1, len(DATA) + 1):
        with refused() as refusal:
            await send(caller, version, DATA, 0, size_bytes=size)
        assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, "SIZE_MISMATCH")


async def test_a_declared_size_above_the_limit_is_refused_before_any_byte(tmp_path: Path) -> None:
    async with running_registry(tmp_path, max_artifact_bytes=MIB) as caller:
        version = await open_version(caller)
        for fields in ({"size_bytes": MIB + 1}, {"offset_bytes": MIB + 1}):
            with refused() as refusal:
                await caller.models.UploadArtifact(
                    [header_of(version, DATA, **fields)], timeout=TIMEOUT_S
                )
            assert refusal.reason == "UPLOAD_TOO_LARGE"


async def test_a_closed_version_takes_no_bytes(caller: RegistryCaller) -> None:
    version = await caller.ready_version(await caller.create_model())
    with refused() as refusal:
        await send(caller, version, DATA[:MIB], 0)
    assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    assert (await progress(caller, version, DATA)).received_bytes == 0
    assert (await progress(caller, version, BUNDLE["model.onnx"], "model.onnx")).complete


async def test_unfinished_uploads_can_be_found_and_discarded(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as caller:
        version = await open_version(caller)
        with refused() as refusal:
            await end_early(caller, header_of(version, DATA, size_bytes=len(DATA)), DATA[:MIB])
        assert refusal.reason == "SIZE_MISMATCH"
        assert (await progress(caller, version, DATA)).received_bytes == MIB
        async with open_blob_store(f"file://{tmp_path}/blobs") as store:
            staging = Staging(store, utc_now)
            [unfinished] = await staging.unfinished()
            assert unfinished.key.startswith(PARTIAL_PREFIX)
            assert unfinished.size_bytes == MIB
            await staging.discard(unfinished)
            assert await bytes_in(store) == []
        assert (await progress(caller, version, DATA)).received_bytes == 0


async def bytes_in(store: BlobStore) -> list[str]:
    """The keys of all content, accepted or not."""
    staged, content = await store.list_blobs("staged/"), await store.list_blobs("blobs/")
    return [info.key for info in (*staged, *content)]
