"""Blobs in this process, for tests and as the model that the other adapters follow."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterable
from datetime import datetime, timedelta

from typing_extensions import override

from services.common.blobs.checkpoints import Checkpoint, Journal
from services.common.blobs.digests import Digest, StreamCheck, Written, digest_of
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    DeletionExpired,
    OffsetOutOfRange,
    PresigningUnsupported,
    UploadChanged,
)
from services.common.blobs.port import (
    CHUNK_BYTES,
    BlobInfo,
    BlobStore,
    SignedRequest,
    TaggedBlob,
    UnfinishedUpload,
    check_key,
)
from services.common.clock import utc_now


class MemoryBlobStore(BlobStore):
    """A dictionary. Lost with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._pieces: dict[str, bytes] = {}

    @override
    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
    ) -> Written:
        check_key(key)
        data, written = await _collect(chunks, StreamCheck(digest, size_bytes))
        self._blobs[key] = data
        return written

    @override
    async def create(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
        journal: Journal | None = None,
    ) -> Written:
        check_key(key)
        if journal is None:
            data, written = await _collect(chunks, StreamCheck(digest, size_bytes))
        else:
            data, written = await self._collect_on(chunks, digest, size_bytes, journal)
        if key in self._blobs:
            raise BlobExists(key)
        self._blobs[key] = data
        return written

    @override
    async def drop_pieces(self, upload: str, key: str, checkpoint: Checkpoint | None) -> None:
        for piece in checkpoint.pieces if checkpoint else ():
            self._pieces.pop(piece, None)

    @override
    async def read(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes]:
        data = self._get(key)
        if not 0 <= offset <= len(data):
            raise OffsetOutOfRange(key, offset, len(data))
        for start in range(offset, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    @override
    async def head(self, key: str) -> BlobInfo:
        return BlobInfo(key, len(self._get(key)))

    @override
    async def delete(self, key: str) -> None:
        check_key(key)
        self._blobs.pop(key, None)

    @override
    async def delete_within(self, key: str, begun: datetime, lifetime: timedelta) -> None:
        if utc_now() > begun + lifetime:
            raise DeletionExpired(key)
        await self.delete(key)

    @override
    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        return []

    @override
    async def drop_unfinished(self, upload: UnfinishedUpload) -> None:
        raise ValueError(f"{upload.handle!r} is no unfinished upload: this store has none")

    @override
    async def list_blobs(self, prefix: str = "") -> list[BlobInfo]:
        return [
            BlobInfo(key, len(data))
            for key, data in sorted(self._blobs.items())
            if key.startswith(prefix)
        ]

    @override
    async def load(self, key: str) -> TaggedBlob:
        data = self._get(key)
        return TaggedBlob(data, digest_of(data))

    @override
    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        check_key(key)
        held = self._blobs.get(key)
        if etag != (None if held is None else digest_of(held)):
            raise BlobChanged(key, etag)
        self._blobs[key] = data
        return digest_of(data)

    @override
    def presign_put(
        self, key: str, *, digest: Digest, size_bytes: int, lifetime: timedelta
    ) -> SignedRequest:
        raise PresigningUnsupported("memory")

    @override
    def presign_get(self, key: str, *, lifetime: timedelta) -> SignedRequest:
        raise PresigningUnsupported("memory")

    async def _collect_on(
        self,
        chunks: AsyncIterable[bytes],
        digest: Digest | None,
        size_bytes: int | None,
        journal: Journal,
    ) -> tuple[bytes, Written]:
        begun = journal.begun
        check = StreamCheck(digest, size_bytes, begun.state if begun else None)
        data = bytearray()
        if begun is not None:
            if begun.pieces[0] not in self._pieces:
                raise UploadChanged(journal.upload)
            data += self._pieces[begun.pieces[0]]
        piece = uuid.uuid4().hex
        try:
            async for chunk in chunks:
                await asyncio.to_thread(check.update, chunk)
                data += chunk
            written = check.finish()
        except BaseException:
            self._pieces[piece] = bytes(data)
            await journal.save(Checkpoint(check.state(), (piece,)))
            raise
        if begun is not None:
            self._pieces.pop(begun.pieces[0], None)
        return bytes(data), written

    def _get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self._blobs[key]
        except KeyError:
            raise BlobNotFound(key) from None


async def _collect(chunks: AsyncIterable[bytes], check: StreamCheck) -> tuple[bytes, Written]:
    data = bytearray()
    async for chunk in chunks:
        await asyncio.to_thread(check.update, chunk)
        data += chunk
    return bytes(data), check.finish()
