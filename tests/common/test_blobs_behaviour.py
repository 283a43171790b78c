"""What every blob store does, whatever it keeps its bytes in."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import pytest

from services.common.blobs.digests import digest_of
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    DeletionExpired,
    DigestMismatch,
    OffsetOutOfRange,
    SizeMismatch,
)
from services.common.blobs.port import CHUNK_BYTES, BlobInfo, BlobStore
from services.common.clock import utc_now
from tests.support.streams import broken_stream, collected, content, stream

MIB = 1 << 20
LONG = b"".join(hashlib.sha256(bytes([n])).digest() * (MIB // 32) for n in range(17)) + b"end"
"""Longer than two parts of a multipart upload."""


def long_stream():
    return stream(*(LONG[start : start + 700_001] for start in range(0, len(LONG), 700_001)))


async def test_what_was_put_is_read_back_with_its_digest_and_size(blob_store: BlobStore):
    written = await blob_store.put("a/b", stream(b"one", b"", b"two"))

    assert (written.digest, written.size_bytes) == (digest_of(b"onetwo"), 6)
    assert await content(blob_store, "a/b") == b"onetwo"
    assert await blob_store.head("a/b") == BlobInfo("a/b", 6)


async def test_a_long_stream_is_stored_whole_and_read_in_bounded_chunks(blob_store: BlobStore):
    written = await blob_store.create("long", long_stream(), digest=digest_of(LONG))

    chunks = [chunk async for chunk in blob_store.read("long")]
    assert written.size_bytes == len(LONG)
    assert b"".join(chunks) == LONG
    assert max(map(len, chunks)) <= CHUNK_BYTES


async def test_an_empty_stream_makes_an_empty_blob(blob_store: BlobStore):
    await blob_store.put("empty", stream())

    assert await content(blob_store, "empty") == b""
    assert (await blob_store.load("empty")).data == b""


async def test_put_replaces(blob_store: BlobStore):
    await blob_store.put("k", stream(b"a longer one"))
    await blob_store.put("k", stream(b"short"))

    assert await content(blob_store, "k") == b"short"


@pytest.mark.parametrize("data", [b"second", LONG], ids=["short", "long"])
async def test_create_refuses_a_taken_key_and_leaves_it_alone(blob_store: BlobStore, data: bytes):
    await blob_store.create("k", stream(b"first"))

    with pytest.raises(BlobExists) as refusal:
        await blob_store.create("k", stream(data))

    assert refusal.value.metadata == {"key": "k"}
    assert await content(blob_store, "k") == b"first"


async def test_of_racing_creates_exactly_one_wins(blob_store: BlobStore):
    async def attempt(n: int) -> int | None:
        try:
            await blob_store.create("k", stream(b"%d" % n))
        except BlobExists:
            return None
        return n

    winners = [n for n in await asyncio.gather(*map(attempt, range(12))) if n is not None]

    assert len(winners) == 1
    assert await content(blob_store, "k") == b"%d" % winners[0]


@pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
async def test_a_stream_that_breaks_off_leaves_nothing(blob_store: BlobStore, data: bytes):
    with pytest.raises(ConnectionResetError):
        await blob_store.put("k", broken_stream(data))

    assert not await blob_store.exists("k")
    assert await blob_store.list_blobs() == []


@pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
async def test_a_stream_of_other_bytes_than_promised_leaves_nothing(
    blob_store: BlobStore, data: bytes
):
    with pytest.raises(DigestMismatch) as loss:
        await blob_store.create("k", stream(data), digest=digest_of(b"other"))

    assert loss.value.metadata == {"digest": digest_of(b"other"), "actual": digest_of(data)}
    assert not await blob_store.exists("k")


@pytest.mark.parametrize("promised", [2, 4])
async def test_a_stream_of_another_size_than_promised_leaves_nothing(
    blob_store: BlobStore, promised: int
):
    with pytest.raises(SizeMismatch) as loss:
        await blob_store.put("k", stream(b"123"), size_bytes=promised)

    assert loss.value.metadata == {"size_bytes": str(promised), "actual": "3"}
    assert not await blob_store.exists("k")


async def test_a_failed_put_leaves_the_previous_blob(blob_store: BlobStore):
    await blob_store.put("k", stream(b"before"))

    with pytest.raises(DigestMismatch):
        await blob_store.put("k", stream(b"after"), digest=digest_of(b"other"))

    assert await content(blob_store, "k") == b"before"


@pytest.mark.parametrize("offset", [0, 1, 5, 6])
async def test_a_read_starts_at_its_offset(blob_store: BlobStore, offset: int):
    await blob_store.put("k", stream(b"123456"))

    assert await content(blob_store, "k", offset=offset) == b"123456"[offset:]


@pytest.mark.parametrize("offset", [-1, 7])
async def test_a_read_from_outside_the_blob_is_refused(blob_store: BlobStore, offset: int):
    await blob_store.put("k", stream(b"123456"))

    with pytest.raises(OffsetOutOfRange) as refusal:
        await content(blob_store, "k", offset=offset)

    assert refusal.value.metadata == {"key": "k", "offset": str(offset), "size_bytes": "6"}


async def test_a_reader_may_leave_early(blob_store: BlobStore):
    await blob_store.put("k", stream(LONG))
    reader = blob_store.read("k")

    assert LONG.startswith(await anext(reader))
    await reader.aclose()
    assert await content(blob_store, "k") == LONG


async def test_a_reader_sees_one_write_although_another_replaces_it(blob_store: BlobStore):
    await blob_store.put("k", stream(b"1" * (3 * MIB)))
    reader = blob_store.read("k")
    first = await anext(reader)

    await blob_store.put("other", stream(b"2"))
    assert first + await collected(reader) == b"1" * (3 * MIB)


async def test_a_reader_of_a_blob_that_is_replaced_never_gets_a_mixture(blob_store: BlobStore):
    await blob_store.put("k", stream(LONG))
    reader = blob_store.read("k")
    first = await anext(reader)

    await blob_store.put("k", stream(LONG[::-1]))
    try:
        assert first + await collected(reader) == LONG
    except BlobChanged as change:
        assert change.metadata["key"] == "k"


async def test_an_absent_key_is_not_found(blob_store: BlobStore):
    for attempt in (
        blob_store.head("absent"),
        blob_store.load("absent"),
        content(blob_store, "absent"),
        content(blob_store, "absent", offset=3),
    ):
        with pytest.raises(BlobNotFound) as refusal:
            await attempt
        assert refusal.value.metadata == {"key": "absent"}
    assert not await blob_store.exists("absent")


async def test_a_folder_is_no_blob(blob_store: BlobStore):
    await blob_store.put("folder/file", stream(b"1"))

    assert not await blob_store.exists("folder")
    with pytest.raises(BlobNotFound):
        await content(blob_store, "folder")


async def test_delete_is_idempotent(blob_store: BlobStore):
    await blob_store.put("a/b", stream(b"1"))

    await blob_store.delete("a/b")
    await blob_store.delete("a/b")
    await blob_store.delete("never/there")

    assert await blob_store.list_blobs() == []


async def test_blobs_are_listed_by_prefix_in_byte_order(blob_store: BlobStore):
    for key in ("b/2", "b/10", "b-1", "a", "b/1/x", "B", "b/1.y"):
        await blob_store.put(key, stream(key.encode()))

    async def keys(prefix: str) -> list[str]:
        return [info.key for info in await blob_store.list_blobs(prefix)]

    assert await keys("") == ["B", "a", "b-1", "b/1.y", "b/1/x", "b/10", "b/2"]
    assert await keys("b/1") == ["b/1.y", "b/1/x", "b/10"]
    assert await keys("b/1/") == ["b/1/x"]
    assert await keys("c/") == []
    assert (await blob_store.list_blobs("b/10"))[0].size_bytes == 4


async def test_a_swap_needs_the_present_etag(blob_store: BlobStore):
    first = await blob_store.compare_and_swap("k", b"one", etag=None)
    assert first == (await blob_store.load("k")).etag

    second = await blob_store.compare_and_swap("k", b"two", etag=first)

    for stale in (first, None):
        with pytest.raises(BlobChanged) as refusal:
            await blob_store.compare_and_swap("k", b"three", etag=stale)
        assert refusal.value.metadata == {"key": "k", "etag": stale or ""}
    found = await blob_store.load("k")
    assert (found.data, found.etag) == (b"two", second)


async def test_a_swap_of_a_deleted_blob_is_refused(blob_store: BlobStore):
    etag = await blob_store.compare_and_swap("k", b"one", etag=None)
    await blob_store.delete("k")

    with pytest.raises(BlobChanged):
        await blob_store.compare_and_swap("k", b"two", etag=etag)

    assert not await blob_store.exists("k")


async def test_concurrent_increments_by_swaps_lose_none(blob_store: BlobStore):
    await blob_store.put("counter", stream(b"0"))

    async def increment() -> None:
        while True:
            found = await blob_store.load("counter")
            try:
                await blob_store.compare_and_swap(
                    "counter", b"%d" % (int(found.data) + 1), etag=found.etag
                )
            except BlobChanged:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(10)))

    assert (await blob_store.load("counter")).data == b"10"


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "ü", "a\n", "x" * 201, "x/" * 350 + "x"]
)
async def test_a_key_that_some_store_could_not_hold_is_refused(blob_store: BlobStore, key: str):
    for attempt in (
        blob_store.put(key, stream(b"1")),
        blob_store.create(key, stream(b"1")),
        blob_store.compare_and_swap(key, b"1", etag=None),
        blob_store.head(key),
        blob_store.load(key),
        blob_store.delete(key),
        content(blob_store, key),
    ):
        with pytest.raises(ValueError, match="no key that every store can hold"):
            await attempt


async def test_a_deletion_in_time_removes_and_a_late_one_removes_nothing(blob_store: BlobStore):
    await blob_store.put("k", stream(b"1"))
    with pytest.raises(DeletionExpired):
        await blob_store.delete_within("k", utc_now() - timedelta(minutes=2), timedelta(seconds=10))
    assert await content(blob_store, "k") == b"1"

    await blob_store.delete_within("k", utc_now(), timedelta(seconds=30))
    await blob_store.delete_within("k", utc_now(), timedelta(seconds=30))
    assert not await blob_store.exists("k")


async def test_a_write_that_ended_has_left_nothing_unfinished(blob_store: BlobStore):
    await blob_store.create("long", long_stream(), digest=digest_of(LONG))
    with pytest.raises(DigestMismatch):
        await blob_store.create("other", long_stream(), digest=digest_of(b"else"))

    assert await blob_store.unfinished_uploads("") == []
