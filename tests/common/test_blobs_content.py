"""Bytes stored under their own digest."""

from __future__ import annotations

import pytest

from services.common.blobs.content import ContentStore, content_key
from services.common.blobs.digests import Digest, digest_of, verified
from services.common.blobs.errors import BlobNotFound, DigestMismatch, SizeMismatch
from services.common.blobs.memory import MemoryBlobStore
from services.common.blobs.port import BlobStore
from tests.support.streams import collected, stream

DATA = b"some content"
DIGEST = digest_of(DATA)


async def test_content_added_twice_is_stored_once(blob_store: BlobStore):
    contents = ContentStore(blob_store)

    first = await contents.add(DIGEST, stream(DATA))
    second = await contents.add(DIGEST, stream(DATA))

    assert first == second
    assert [info.key for info in await blob_store.list_blobs()] == [content_key(DIGEST)]
    assert content_key(DIGEST) == f"blobs/sha256/{DIGEST[7:9]}/{DIGEST[7:]}"


async def test_content_is_read_by_digest_and_from_an_offset(blob_store: BlobStore):
    contents = ContentStore(blob_store)
    digest = await contents.add_bytes(DATA)

    assert digest == DIGEST
    assert await contents.exists(digest)
    assert await collected(contents.read(digest)) == DATA
    assert await collected(contents.read(digest, offset=5)) == DATA[5:]


async def test_other_bytes_than_the_digest_says_are_refused_even_when_it_is_stored():
    contents = ContentStore(MemoryBlobStore())
    await contents.add_bytes(DATA)

    with pytest.raises(DigestMismatch):
        await contents.add(DIGEST, stream(b"other bytes!"))
    with pytest.raises(SizeMismatch):
        await contents.add(DIGEST, stream(DATA), size_bytes=3)


async def test_damaged_content_is_never_delivered_whole():
    store = MemoryBlobStore()
    await store.put(content_key(DIGEST), stream(b"damaged bytes"))

    with pytest.raises(DigestMismatch) as loss:
        await anext(ContentStore(store).read(DIGEST))

    assert loss.value.metadata["digest"] == DIGEST


async def test_a_verified_stream_holds_its_last_chunk_until_the_whole_matches():
    chunks = verified(stream(b"some ", b"forgery"), DIGEST)

    assert await anext(chunks) == b"some "
    with pytest.raises(DigestMismatch):
        await anext(chunks)


async def test_absent_content_is_not_found():
    with pytest.raises(BlobNotFound):
        await collected(ContentStore(MemoryBlobStore()).read(DIGEST))


@pytest.mark.parametrize("text", ["", "sha256:12", DIGEST.upper(), DIGEST + "\n", DIGEST[7:]])
def test_what_is_no_digest_has_no_place(text: str):
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        content_key(Digest(text))
