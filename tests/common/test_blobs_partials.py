"""Uploads that break off and go on, over every kind of store."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.blobs.checkpoints import PARTIAL_PREFIX
from services.common.blobs.content import content_key
from services.common.blobs.digests import digest_of
from services.common.blobs.directory import DirectoryBlobStore
from services.common.blobs.errors import (
    BlobStoreUnavailable,
    DigestMismatch,
    SizeMismatch,
    UploadChanged,
    UploadOffsetMismatch,
)
from services.common.blobs.memory import MemoryBlobStore
from services.common.blobs.opening import open_blob_store
from services.common.blobs.partials import PartialUploads
from services.common.blobs.port import BlobStore
from services.common.blobs.s3_parts import PART_BYTES
from services.common.clock import utc_now
from tests.common.test_blobs_behaviour import LONG
from tests.support.eventually import eventually
from tests.support.registry_memory import EPOCH
from tests.support.s3_proxy import s3_proxy
from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.streams import broken_stream, content, stream

UPLOAD = "ab" * 16
DIGEST = digest_of(LONG)
KEY = content_key(DIGEST)


async def parts_of(data: bytes, offset: int = 0, size: int = 1 << 20):
    for start in range(offset, len(data), size):
        yield data[start : start + size]


async def broken_after(data: bytes, end: int, offset: int = 0):
    async for part in parts_of(data[:end], offset):
        yield part
    raise ConnectionResetError


async def begun(partials: PartialUploads, end: int, data: bytes = LONG) -> int:
    """Where an upload stands whose first stream broke after `end` bytes."""
    with pytest.raises(ConnectionResetError):
        await partials.write(UPLOAD, KEY, broken_after(data, end), offset=0, digest=digest_of(data))
    return await partials.received_bytes(UPLOAD)


async def left_over(store: BlobStore) -> list[str]:
    return [info.key for info in await store.list_blobs() if info.key != KEY]


async def test_a_broken_upload_goes_on_where_it_broke_off(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, 2 * PART_BYTES + 5)
    assert 2 * PART_BYTES <= received <= 2 * PART_BYTES + 5
    assert not await blob_store.exists(KEY)

    written = await PartialUploads(blob_store, utc_now).write(
        UPLOAD, KEY, parts_of(LONG, received), offset=received, digest=DIGEST, size_bytes=len(LONG)
    )

    assert (written.digest, written.size_bytes) == (DIGEST, len(LONG))
    assert await content(blob_store, KEY) == LONG
    assert await partials.received_bytes(UPLOAD) == 0
    assert await left_over(blob_store) == []


async def test_an_upload_that_never_broke_leaves_only_its_blob(blob_store: BlobStore):
    for data in (b"short", LONG):
        key = content_key(digest_of(data))
        await PartialUploads(blob_store, utc_now).write(
            UPLOAD, key, parts_of(data), offset=0, digest=digest_of(data)
        )
        assert await content(blob_store, key) == data
    assert len(await blob_store.list_blobs()) == 2


async def test_an_upload_may_start_over(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    await begun(partials, PART_BYTES + 1)

    await partials.write(UPLOAD, KEY, parts_of(LONG), offset=0, digest=DIGEST)

    assert await content(blob_store, KEY) == LONG
    assert await left_over(blob_store) == []


async def test_an_upload_of_what_is_stored_already_leaves_it_alone(blob_store: BlobStore):
    await blob_store.create(KEY, stream(LONG))
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, PART_BYTES + 1)

    written = await partials.write(
        UPLOAD, KEY, parts_of(LONG, received), offset=received, digest=DIGEST
    )

    assert written.size_bytes == len(LONG)
    assert await left_over(blob_store) == []


@pytest.mark.parametrize("shift", [-1, 1])
async def test_a_stream_that_leaves_a_gap_or_overlaps_is_refused(blob_store: BlobStore, shift: int):
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, PART_BYTES)

    with pytest.raises(UploadOffsetMismatch) as refusal:
        await partials.write(UPLOAD, KEY, stream(b""), offset=received + shift, digest=DIGEST)

    assert refusal.value.metadata == {
        "upload": UPLOAD,
        "offset": str(received + shift),
        "received_bytes": str(received),
    }
    assert await partials.received_bytes(UPLOAD) == received


async def test_wrong_bytes_are_dropped_with_what_came_before(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, PART_BYTES)

    with pytest.raises(DigestMismatch):
        await partials.write(
            UPLOAD, KEY, parts_of(LONG[received:] + b"!"), offset=received, digest=DIGEST
        )

    assert not await blob_store.exists(KEY)
    assert await partials.received_bytes(UPLOAD) == 0
    assert await left_over(blob_store) == []


async def test_a_stream_that_ends_early_can_go_on(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    with pytest.raises(SizeMismatch):
        await partials.write(
            UPLOAD,
            KEY,
            parts_of(LONG[: PART_BYTES + 5]),
            offset=0,
            digest=DIGEST,
            size_bytes=len(LONG),
        )
    received = await partials.received_bytes(UPLOAD)
    assert received in (PART_BYTES, PART_BYTES + 5)

    await partials.write(
        UPLOAD, KEY, parts_of(LONG, received), offset=received, digest=DIGEST, size_bytes=len(LONG)
    )
    assert await content(blob_store, KEY) == LONG


async def test_the_younger_of_two_streams_goes_on_and_the_older_ends(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, PART_BYTES)
    older_runs, younger_is_done = asyncio.Event(), asyncio.Event()

    async def slow():
        older_runs.set()
        yield LONG[received : received + 10]
        await younger_is_done.wait()
        raise ConnectionResetError

    older = asyncio.ensure_future(
        partials.write(UPLOAD, KEY, slow(), offset=received, digest=DIGEST)
    )
    await older_runs.wait()
    await partials.write(UPLOAD, KEY, parts_of(LONG, received), offset=received, digest=DIGEST)
    younger_is_done.set()

    with pytest.raises((ConnectionResetError, UploadChanged)):
        await older
    assert await content(blob_store, KEY) == LONG
    assert await left_over(blob_store) == []


async def test_a_discarded_upload_is_gone_and_its_stream_fails(blob_store: BlobStore):
    partials = PartialUploads(blob_store, utc_now)
    received = await begun(partials, PART_BYTES)
    await partials.discard(UPLOAD)
    await partials.discard(UPLOAD)

    assert await left_over(blob_store) == []
    with pytest.raises(UploadOffsetMismatch):
        await partials.write(UPLOAD, KEY, stream(b""), offset=received, digest=DIGEST)


async def test_unfinished_uploads_are_listed_with_their_size_and_time(blob_store: BlobStore):
    partials = PartialUploads(blob_store, lambda: EPOCH + timedelta(hours=1))
    received = await begun(partials, PART_BYTES)

    found = await partials.unfinished()

    assert [(each.upload, each.received_bytes) for each in found] == [(UPLOAD, received)]
    assert found[0].update_time == EPOCH + timedelta(hours=1)
    assert await left_over(blob_store) == [f"{PARTIAL_PREFIX}{UPLOAD}"]


def memory() -> MemoryBlobStore:
    return MemoryBlobStore()


def directory() -> DirectoryBlobStore:
    return DirectoryBlobStore(Path(tempfile.mkdtemp(dir=_SCRATCH.name)))


_SCRATCH = tempfile.TemporaryDirectory()


@pytest.mark.parametrize("opened", [memory, directory])
@settings(max_examples=25)
@given(
    size=st.integers(0, 5000),
    breaks=st.lists(st.integers(0, 5000), max_size=5),
    chunk=st.integers(1, 999),
)
def test_wherever_it_breaks_an_upload_ends_with_the_right_bytes(
    opened: Callable[[], BlobStore], size: int, breaks: list[int], chunk: int
):
    data = bytes(index % 251 for index in range(size))
    key = content_key(digest_of(data))
    store = opened()

    async def run() -> None:
        for end in breaks:
            partials = PartialUploads(store, utc_now)
            received = await partials.received_bytes(UPLOAD)
            assert received <= size
            sent = [part async for part in parts_of(data[: max(end, received)], received, chunk)]
            with pytest.raises(ConnectionResetError):
                await partials.write(
                    UPLOAD, key, broken_stream(*sent), offset=received, digest=digest_of(data)
                )
            assert await partials.received_bytes(UPLOAD) == max(received, min(end, size))
        partials = PartialUploads(store, utc_now)
        received = await partials.received_bytes(UPLOAD)
        await partials.write(
            UPLOAD, key, parts_of(data, received, chunk), offset=received, digest=digest_of(data)
        )
        assert await content(store, key) == data
        assert [info.key for info in await store.list_blobs()] == [key]

    asyncio.run(run())


UPLOAD_AND_HANG = """
import asyncio, sys
from pathlib import Path
from services.common.blobs.content import content_key
from services.common.blobs.digests import Digest
from services.common.blobs.directory import DirectoryBlobStore
from services.common.blobs.partials import PartialUploads
from services.common.clock import utc_now

async def endless():
    for _ in range(40):
        yield b"x" * (1 << 20)
    await asyncio.sleep(1000)

digest = Digest(sys.argv[2])
partials = PartialUploads(DirectoryBlobStore(Path(sys.argv[1])), utc_now)
asyncio.run(partials.write(sys.argv[3], content_key(digest), endless(), offset=0, digest=digest))
"""


async def test_an_upload_outlives_the_process_that_took_it_in(tmp_path: Path):
    data = b"x" * (1 << 20) * 41
    digest = digest_of(data)
    record = tmp_path / "objects" / PARTIAL_PREFIX / UPLOAD
    command = [sys.executable, "-c", UPLOAD_AND_HANG, str(tmp_path), digest, UPLOAD]
    process = await asyncio.create_subprocess_exec(*command)
    await eventually(record.exists)
    process.kill()
    await process.wait()

    store = DirectoryBlobStore(tmp_path)
    partials = PartialUploads(store, utc_now)
    received = await partials.received_bytes(UPLOAD)
    assert received >= 32 << 20
    key = content_key(digest)
    await partials.write(UPLOAD, key, parts_of(data, received), offset=received, digest=digest)

    assert await content(store, key) == data
    assert list((tmp_path / "pieces").iterdir()) == []


async def test_pieces_that_no_record_names_are_removed_at_the_next_start(tmp_path: Path):
    store = DirectoryBlobStore(tmp_path)
    partials = PartialUploads(store, utc_now)
    await begun(partials, PART_BYTES)
    DirectoryBlobStore(tmp_path)
    assert list((tmp_path / "pieces").iterdir()), "a record names them"

    await store.delete(f"{PARTIAL_PREFIX}{UPLOAD}")
    DirectoryBlobStore(tmp_path)
    assert list((tmp_path / "pieces").iterdir()) == []


async def test_an_upload_whose_parts_the_bucket_dropped_starts_over(
    s3_server: S3Server, s3_url: str
):
    async with open_blob_store(s3_url, connection=s3_server.connection) as store:
        partials = PartialUploads(store, utc_now)
        received = await begun(partials, PART_BYTES)
        client = s3_server.client()
        name = f"{s3_url.removeprefix(f's3://{BUCKET}/')}/{KEY}"
        for upload in client._list_multipart_uploads(BUCKET, prefix=name).uploads:
            client._abort_multipart_upload(BUCKET, name, upload.upload_id)

        with pytest.raises(UploadChanged):
            await partials.write(
                UPLOAD, KEY, parts_of(LONG, received), offset=received, digest=DIGEST
            )
        assert await partials.received_bytes(UPLOAD) == 0
        await partials.write(UPLOAD, KEY, parts_of(LONG), offset=0, digest=DIGEST)
        assert await content(store, KEY) == LONG


async def test_broken_connections_to_the_store_are_mended_or_leave_an_upload_to_go_on(
    s3_server: S3Server, s3_url: str
):
    seen: list[str] = []

    def drops(method: str, path: str) -> bool:
        """Each third request of a part or range, and the first that would complete."""
        kind = f"{method} {'part' if 'partNumber' in path else 'other'}"
        seen.append(kind)
        if kind in ("PUT part", "GET other") and KEY in path:
            return seen.count(kind) % 3 == 1
        return method == "POST" and "uploadId" in path and KEY in path and not completed

    completed: list[bool] = []
    with s3_proxy(s3_server.address, drops=drops) as proxy:
        connection = replace(s3_server.connection, endpoint=proxy)
        async with open_blob_store(s3_url, connection=connection) as store:
            partials = PartialUploads(store, utc_now)
            with pytest.raises(BlobStoreUnavailable):
                await partials.write(UPLOAD, KEY, parts_of(LONG), offset=0, digest=DIGEST)
            completed.append(True)
            received = await partials.received_bytes(UPLOAD)
            assert received == len(LONG)
            await partials.write(UPLOAD, KEY, stream(), offset=received, digest=DIGEST)

            assert await content(store, KEY) == LONG
            assert await left_over(store) == []
