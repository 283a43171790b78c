"""What only an S3 has to withstand: crashes, and stores that break their word."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from services.common.blobs.digests import digest_of
from services.common.blobs.errors import BlobStoreUnavailable, DigestMismatch, UnsafeStoreError
from services.common.blobs.opening import open_blob_store
from services.common.blobs.s3 import S3BlobStore, S3Connection
from services.common.blobs.s3_writes import RefusedError
from services.common.clock import utc_now
from tests.support.s3_proxy import HeaderFilter, s3_proxy
from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.streams import broken_stream, content, stream

PART = b"p" * (8 << 20)


def through(proxy: str, server: S3Server) -> S3Connection:
    return replace(server.connection, endpoint=proxy)


async def test_a_store_behind_a_faithful_proxy_passes_the_probe(s3_server: S3Server, s3_url: str):
    with s3_proxy(s3_server.address, lambda _method, _header: True) as proxy:
        async with open_blob_store(s3_url, connection=through(proxy, s3_server)) as store:
            await store.put("k", stream(b"1"))

            assert [info.key for info in await store.list_blobs()] == ["k"]


@pytest.mark.parametrize(
    ("passes", "fault"),
    [
        (lambda method, name: name != "If-None-Match", "overwrites a blob on create"),
        (lambda method, name: name != "If-Match", "swaps a blob whose etag is another"),
        (
            lambda method, name: (method, name) != ("POST", "If-None-Match"),
            "overwrites a blob by a multipart upload",
        ),
    ],
)
async def test_a_store_that_ignores_a_precondition_is_refused_at_start(
    s3_server: S3Server, s3_url: str, passes: HeaderFilter, fault: str
):
    with (
        s3_proxy(s3_server.address, passes) as proxy,
        pytest.raises(UnsafeStoreError, match=fault),
    ):
        async with open_blob_store(s3_url, connection=through(proxy, s3_server)):
            pytest.fail("the store was accepted")


async def test_an_absent_bucket_is_refused_at_start(s3_server: S3Server):
    with pytest.raises(UnsafeStoreError, match="no bucket absent-bucket"):
        async with open_blob_store("s3://absent-bucket", connection=s3_server.connection):
            pytest.fail("the store was accepted")


async def test_a_failed_long_upload_leaves_no_parts_behind(s3_server: S3Server, s3_url: str):
    async with open_blob_store(s3_url, connection=s3_server.connection) as store:
        with pytest.raises(ConnectionResetError):
            await store.put("k", broken_stream(PART, PART))
        with pytest.raises(DigestMismatch):
            await store.put("k", stream(PART, b"1"), digest=digest_of(b"other"))

    prefix = s3_url.removeprefix(f"s3://{BUCKET}/")
    listed = s3_server.client()._list_multipart_uploads(BUCKET, prefix=prefix)
    assert listed.uploads == []


async def test_a_stream_of_whole_parts_is_stored_without_an_empty_one(
    s3_server: S3Server, s3_url: str
):
    async with open_blob_store(s3_url, connection=s3_server.connection) as store:
        await store.create("k", stream(PART, PART), digest=digest_of(PART + PART))

        assert await content(store, "k", offset=len(PART)) == PART


async def test_a_dead_store_is_unavailable_and_what_it_acknowledged_survives(
    tmp_path_factory: pytest.TempPathFactory,
):
    server = S3Server(tmp_path_factory.mktemp("crashing-seaweedfs"))
    store = S3BlobStore(server.connection, BUCKET, uuid.uuid4().hex)
    try:
        await store.put("k", stream(b"acknowledged"))
        server.kill()
        for attempt in (store.put("l", stream(b"1")), store.load("k"), store.list_blobs()):
            with pytest.raises(BlobStoreUnavailable):
                await attempt

        server.restart()
        assert await content(store, "k") == b"acknowledged"
    finally:
        await store.close()
        server.stop()


async def test_parts_get_an_md5_where_the_bucket_wants_one(s3_server: S3Server, s3_url: str):
    with s3_proxy(s3_server.address, wants_md5=True) as proxy:
        async with open_blob_store(s3_url, connection=through(proxy, s3_server)) as store:
            await store.create("k", stream(PART, PART, b"end"))

            assert await content(store, "k") == PART + PART + b"end"


def test_the_secret_is_not_shown():
    assert "hush" not in repr(S3Connection("127.0.0.1:9000", "name", "hush"))


async def test_the_server_itself_refuses_a_deletion_that_arrives_late(
    s3_server: S3Server, s3_url: str
):
    async with open_blob_store(s3_url, connection=s3_server.connection) as store:
        assert isinstance(store, S3BlobStore)
        await store.put("k", stream(b"1"))
        begun = utc_now() - timedelta(seconds=30)
        with pytest.raises(RefusedError):
            store._writes.delete_within(store._name("k"), begun, timedelta(seconds=10))

        assert await content(store, "k") == b"1"


async def test_an_upload_of_a_killed_process_is_found_and_dropped(s3_server: S3Server, s3_url: str):
    async with open_blob_store(s3_url, connection=s3_server.connection) as store:
        assert isinstance(store, S3BlobStore)
        handle = store._writes.begin(store._name("blobs/torn"))
        store._writes.put_part(store._name("blobs/torn"), handle, 1, [PART])

        [found] = await store.unfinished_uploads("blobs/")
        assert (found.key, found.handle) == ("blobs/torn", handle)
        assert abs(found.begin_time - utc_now()) < timedelta(minutes=10)
        assert await store.unfinished_uploads("other/") == []
        for _ in range(2):
            await store.drop_unfinished(found)
        assert await store.unfinished_uploads("") == []
