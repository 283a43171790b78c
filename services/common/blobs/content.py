"""Blobs stored under their own digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.blobs.digests import (
    Digest,
    StreamCheck,
    Written,
    digest_of,
    once,
    parse_digest,
    verified,
)
from services.common.blobs.errors import BlobExists, BlobNotFound
from services.common.blobs.port import BlobStore, SignedRequest, UnfinishedUpload

_PREFIX = "blobs/sha256/"


def content_key(digest: Digest) -> str:
    """Where the bytes with this digest are stored: `blobs/sha256/ab/<64 digits>`."""
    hexadecimal = parse_digest(digest).removeprefix("sha256:")
    return f"{_PREFIX}{hexadecimal[:2]}/{hexadecimal}"


def digest_of_key(key: str) -> Digest | None:
    """The digest whose content is stored under `key`; None for a key that no content has."""
    hexadecimal = key.rpartition("/")[2]
    try:
        digest = parse_digest(f"sha256:{hexadecimal}")
    except ValueError:
        return None
    return digest if content_key(digest) == key else None


@dataclass(frozen=True, slots=True)
class StoredContent:
    """One content that the store has."""

    digest: Digest
    size_bytes: int


class ContentStore:
    """Bytes by digest: each content is stored once and never changes.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    async def add(
        self, digest: Digest, chunks: AsyncIterable[bytes], *, size_bytes: int | None = None
    ) -> Written:
        """Store the stream, unless its content is already here. Idempotent.

        Raises:
            DigestMismatch, SizeMismatch: The stream is not what was promised; nothing is stored.
        """
        key = content_key(digest)
        try:
            return await self._store.create(key, chunks, digest=digest, size_bytes=size_bytes)
        except BlobExists:
            return Written(digest, (await self._store.head(key)).size_bytes)

    async def replace(
        self, digest: Digest, chunks: AsyncIterable[bytes], *, size_bytes: int | None = None
    ) -> Written:
        """Store the stream in place of what is stored, which may have been damaged. Idempotent.

        Raises:
            DigestMismatch, SizeMismatch: The stream is not what was promised; nothing changes.
        """
        return await self._store.put(
            content_key(digest), chunks, digest=digest, size_bytes=size_bytes
        )

    async def examine(
        self, digest: Digest, after_chunk: Callable[[int], Awaitable[None]] | None = None
    ) -> Written | None:
        """What stands in the content's place, read whole; None where nothing does.

        Args:
            digest: Of the content.
            after_chunk: Awaited with the size of each chunk, such as to read slowly.
        """
        check = StreamCheck(None, None)
        try:
            async with aclosing(self._store.read(content_key(digest))) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(check.update, chunk)
                    if after_chunk is not None:
                        await after_chunk(len(chunk))
        except BlobNotFound:
            return None
        return check.finish()

    async def add_bytes(self, data: bytes) -> Digest:
        """Store bytes already in memory and give their digest. Idempotent."""
        digest = digest_of(data)
        await self.add(digest, once(data))
        return digest

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes from `offset` on; from 0, the last chunk comes only if all of them match.

        Raises:
            BlobNotFound: The content is not stored.
            OffsetOutOfRange: `offset` is behind its end.
            DigestMismatch: What is stored has been damaged; only checked when `offset` is 0.
        """
        async with aclosing(self._store.read(content_key(digest), offset=offset)) as chunks:
            async for chunk in chunks if offset else verified(chunks, digest):
                yield chunk

    def presigned(self, digest: Digest, *, lifetime: timedelta) -> SignedRequest:
        """A request for the content that needs no credentials.

        Raises:
            PresigningUnsupported: No URL leads to the store.
        """
        return self._store.presign_get(content_key(digest), lifetime=lifetime)

    async def exists(self, digest: Digest) -> bool:
        """Whether the content is stored."""
        return await self._store.exists(content_key(digest))

    async def all(self) -> list[StoredContent]:
        """Every content that is stored, by digest."""
        found = []
        for blob in await self._store.list_blobs(_PREFIX):
            digest = digest_of_key(blob.key)
            if digest is not None:
                found.append(StoredContent(digest, blob.size_bytes))
        return found

    async def remove_within(self, digest: Digest, begun: datetime, lifetime: timedelta) -> None:
        """Remove the content, if it is stored, but never later than `begun + lifetime`.

        See `BlobStore.delete_within`.

        Raises:
            DeletionExpired: It is too late; nothing was removed.
        """
        await self._store.delete_within(content_key(digest), begun, lifetime)

    async def unfinished(self) -> list[UnfinishedUpload]:
        """What interrupted writes of contents have left, those under way now among them."""
        return await self._store.unfinished_uploads(_PREFIX)

    async def drop_unfinished(self, upload: UnfinishedUpload) -> None:
        """Free what an interrupted write has left. Idempotent."""
        await self._store.drop_unfinished(upload)
