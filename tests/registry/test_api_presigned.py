"""Files moved by presigned URLs, past the registry."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from roundhouse.registry.v1 import model_pb2, model_service_pb2

from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from services.common.blobs.staging import PRESIGNED_PREFIX, Staging
from services.common.clock import utc_now
from tests.registry.test_api_transfers import DATA, PATH, bytes_in, open_version
from tests.support.calls import TIMEOUT_S, refused, request_id
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


@asynccontextmanager
async def registry_on_s3(
    tmp_path: Path, server: S3Server, url: str
) -> AsyncIterator[tuple[RegistryCaller, BlobStore]]:
    connection = server.connection
    async with (
        running_registry(
            tmp_path,
            blob_url=url,
            s3_endpoint=connection.endpoint,
            s3_access_key=connection.access_key,
            s3_secret_key=connection.secret_key,
            s3_secure=False,
        ) as caller,
        open_blob_store(url, connection=connection) as store,
    ):
        yield caller, store


@pytest.fixture
async def on_s3(
    tmp_path: Path, s3_server: S3Server, s3_url: str
) -> AsyncIterator[tuple[RegistryCaller, BlobStore]]:
    async with registry_on_s3(tmp_path, s3_server, s3_url) as both:
        yield both


HTTP = urllib3.PoolManager(retries=False)


async def upload_url(
    caller: RegistryCaller, version: str, data: bytes, path: str = PATH, **fields: Any
) -> service_pb.CreateUploadUrlsResponse.UploadUrl:
    request_type = service_pb.CreateUploadUrlsRequest
    file = request_type.File(path=path, digest=digest_of(data), size_bytes=len(data))
    response = await caller.models.CreateUploadUrls(
        request_type(version=version, files=[file], **fields), timeout=TIMEOUT_S
    )
    return response.urls[0]


async def put(
    url: service_pb.CreateUploadUrlsResponse.UploadUrl, data: bytes, **headers: str
) -> int:
    response = await asyncio.to_thread(
        HTTP.request, "PUT", url.url, body=data, headers={**url.headers, **headers}
    )
    return response.status


def completion(
    version: str, ticket: str, data: bytes, path: str = PATH
) -> service_pb.CompleteUploadRequest:
    return service_pb.CompleteUploadRequest(
        version=version,
        path=path,
        digest=digest_of(data),
        ticket=ticket,
        request_id=request_id(),
    )


async def test_a_bundle_travels_by_urls_both_ways(on_s3: tuple[RegistryCaller, BlobStore]) -> None:
    caller, store = on_s3
    version = await open_version(caller)
    files = {**BUNDLE, "rows.csv": DATA}
    everything = {**files, MANIFEST: manifest_of(files)}
    for path, data in everything.items():
        url = await upload_url(caller, version, data, path)
        assert await put(url, data) == 200
        request = completion(version, url.ticket, data, path)
        first = await caller.models.CompleteUpload(request, timeout=TIMEOUT_S)
        assert (first.path, first.size_bytes) == (path, len(data))
        assert await caller.models.CompleteUpload(request, timeout=TIMEOUT_S) == first
    await caller.commit(version, digest_of(everything[MANIFEST]))
    assert await store.list_blobs(PRESIGNED_PREFIX) == []

    found = await caller.models.CreateDownloadUrls(
        service_pb.CreateDownloadUrlsRequest(version=version), timeout=TIMEOUT_S
    )
    assert {each.file.path for each in found.urls} == set(everything)
    for each in found.urls:
        response = await asyncio.to_thread(HTTP.request, "GET", each.url)
        assert digest_of(response.data) == each.file.digest


@pytest.mark.parametrize(
    ("tamper", "status"),
    [
        (lambda data: (data[:-1] + b"!", {}), 400),
        (lambda data: (data + b"!", {"content-length": str(len(data) + 1)}), 403),
        (lambda data: (b"other", {"x-amz-checksum-sha256": "AAAA", "content-length": "5"}), 403),
    ],
    ids=["other bytes", "more bytes", "another digest"],
)
async def test_a_url_takes_no_other_bytes(
    on_s3: tuple[RegistryCaller, BlobStore],
    tamper: Callable[[bytes], tuple[bytes, dict[str, str]]],
    status: int,
) -> None:
    caller, store = on_s3
    version = await open_version(caller)
    url = await upload_url(caller, version, DATA)
    body, headers = tamper(DATA)

    assert await put(url, body, **headers) == status

    with refused() as refusal:
        await caller.models.CompleteUpload(completion(version, url.ticket, DATA), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "UPLOAD_NOT_STAGED")
    assert await store.list_blobs("blobs/") == []


@pytest.mark.parametrize(
    ("data", "stored", "reason"),
    [
        (DATA, DATA[:-1] + b"!", "TRUNCATED_UPLOAD"),
        (pickle.dumps({"a": 1}), pickle.dumps({"a": 1}), "UNSAFE_FORMAT"),
    ],
    ids=["forged", "code"],
)
async def test_what_a_lax_store_let_in_never_counts(
    on_s3: tuple[RegistryCaller, BlobStore], data: bytes, stored: bytes, reason: str
) -> None:
    caller, store = on_s3
    version = await open_version(caller)
    url = await upload_url(caller, version, data)

    async def forged() -> AsyncIterator[bytes]:
        yield stored

    await store.put(f"{PRESIGNED_PREFIX}{url.ticket}", forged())

    with refused() as refusal:
        await caller.models.CompleteUpload(completion(version, url.ticket, data), timeout=TIMEOUT_S)
    assert refusal.reason == reason
    assert await bytes_in(store) == []


async def test_a_url_ends_with_its_lifetime_and_its_place_says_when(
    on_s3: tuple[RegistryCaller, BlobStore],
) -> None:
    caller, store = on_s3
    version = await open_version(caller)
    url = await upload_url(caller, version, DATA, lifetime=Duration(seconds=1))
    assert await put(await upload_url(caller, version, b"left alone"), b"left alone") == 200

    [unfinished] = await Staging(store, utc_now).unfinished()
    assert unfinished.size_bytes == len(b"left alone")
    left_s = (unfinished.update_time - utc_now()).total_seconds()
    assert 0 < left_s <= 15 * 60
    while utc_now() <= url.expire_time.ToDatetime(utc_now().tzinfo):
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.1)  # S3 counts whole seconds
    assert await put(url, DATA) == 403
    await Staging(store, utc_now).discard(unfinished)
    assert await bytes_in(store) == []


async def test_a_directory_has_no_urls_and_says_what_to_do(caller: RegistryCaller) -> None:
    version = await open_version(caller)
    with refused() as refusal:
        await upload_url(caller, version, DATA)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "PRESIGNING_UNSUPPORTED",
    )
    assert refusal.metadata == {"store": "a directory"}
    ready = await caller.ready_version(await caller.create_model("other"))
    with refused() as refusal:
        await caller.models.CreateDownloadUrls(
            service_pb.CreateDownloadUrlsRequest(version=ready), timeout=TIMEOUT_S
        )
    assert refusal.reason == "PRESIGNING_UNSUPPORTED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lifetime": Duration(seconds=3601)}, "INVALID_REQUEST"),
        ({"lifetime": Duration(nanos=1)}, "INVALID_REQUEST"),
        ({"path": "model.pkl"}, "UNSAFE_FORMAT"),
        ({"path": "../model.onnx"}, "INVALID_REQUEST"),
    ],
)
async def test_rubbish_gets_no_url(
    caller: RegistryCaller, fields: dict[str, Any], reason: str
) -> None:
    version = await open_version(caller)
    with refused() as refusal:
        await upload_url(caller, version, DATA, **fields)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize("ticket", ["", "1", "../../blobs/x", "1700000000-" + "g" * 32])
async def test_rubbish_is_no_ticket(caller: RegistryCaller, ticket: str) -> None:
    version = await open_version(caller)
    with refused() as refusal:
        await caller.models.CompleteUpload(completion(version, ticket, DATA), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.fields()) == (StatusCode.INVALID_ARGUMENT, ["ticket"])
