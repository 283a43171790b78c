"""Uploads that go on where they broke off, whoever dies in between."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from typing_extensions import override

from services.common.blobs.checkpoints import PARTIAL_PREFIX, Checkpoint, DigestState, Journal
from services.common.blobs.digests import Digest, Written
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    DigestMismatch,
    UploadChanged,
    UploadOffsetMismatch,
)
from services.common.blobs.port import BlobStore
from services.common.clock import Clock
from services.common.errors import InvalidArgument, ResourceExhausted

_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PartialUpload:
    """An upload that has begun and not ended.

    Attributes:
        upload: Its id.
        received_bytes: How many of its first bytes are durable.
        update_time: When that was noted.
        pieces: What the store calls the parts that hold them.
    """

    upload: str
    received_bytes: int
    update_time: datetime
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Record:
    key: str
    checkpoint: Checkpoint
    update_time: datetime
    etag: str


class PartialUploads:
    """Streams into a store that may break off and go on.

    What has arrived of one is a record under `PARTIAL_PREFIX`, moved by compare-and-swap, so
    that of several streams of one upload the youngest goes on and the others end. Only whole
    blobs whose digest has been checked get a key.

    Args:
        store: Gets the blobs.
        now: The clock.
    """

    def __init__(self, store: BlobStore, now: Clock) -> None:
        self._store = store
        self._now = now

    async def received_bytes(self, upload: str) -> int:
        """How many of its first bytes are durable: where its next stream goes on."""
        record = await self._load(upload)
        return 0 if record is None else record.checkpoint.state.size_bytes

    async def write(
        self,
        upload: str,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        offset: int,
        digest: Digest,
        size_bytes: int | None = None,
    ) -> Written:
        """Store the blob that the upload's bytes make, unless its key is taken. Idempotent.

        Args:
            upload: Its id, 32 hex digits; one id, one key and digest.
            key: Gets the blob, once it is whole.
            chunks: The bytes from `offset` on.
            offset: What `received_bytes` gave, or 0 to start over.
            digest: Of the whole blob.
            size_bytes: Of the whole blob, if known.

        Raises:
            UploadOffsetMismatch: `offset` is neither.
            UploadChanged: Another stream has taken the upload up, or it was discarded.
            DigestMismatch, SizeMismatch: The bytes are not the promised ones.
        """
        begun = await self._taken_up(upload, key, offset)
        journal = _PartialJournal(self._store, self._now, upload, key, begun)
        try:
            if begun is not None:
                await journal.save(begun.checkpoint)
            written = await self._store.create(
                key, chunks, digest=digest, size_bytes=size_bytes, journal=journal
            )
        except BlobExists:
            await self._drop(upload, key)
            return Written(digest, (await self._store.head(key)).size_bytes)
        except (DigestMismatch, InvalidArgument, ResourceExhausted):
            # No stream that goes on from these bytes can be right.
            await asyncio.shield(self._drop(upload, key))
            raise
        except UploadChanged:
            if not await self._is_elsewhere(upload, journal):
                await self._drop(upload, key)
            raise
        await self._store.delete(_record_key(upload))
        return written

    async def unfinished(self) -> list[PartialUpload]:
        """Every upload that has begun and not ended."""
        found = []
        for info in await self._store.list_blobs(PARTIAL_PREFIX):
            upload = info.key.removeprefix(PARTIAL_PREFIX)
            record = await self._load(upload)
            if record is not None:
                size = record.checkpoint.state.size_bytes
                pieces = record.checkpoint.pieces
                found.append(PartialUpload(upload, size, record.update_time, pieces))
        return found

    async def discard(self, upload: str) -> None:
        """Free what has arrived of an upload; a stream of it under way fails. Idempotent."""
        record = await self._load(upload)
        if record is not None:
            await self._drop(upload, record.key)

    async def _drop(self, upload: str, key: str) -> None:
        record = await self._load(upload)
        await self._store.drop_pieces(upload, key, record.checkpoint if record else None)
        await self._store.delete(_record_key(upload))

    async def _taken_up(self, upload: str, key: str, offset: int) -> _Record | None:
        if offset == 0:
            await self._drop(upload, key)
            return None
        record = await self._load(upload)
        received = 0 if record is None else record.checkpoint.state.size_bytes
        if record is None or received != offset:
            raise UploadOffsetMismatch(upload, offset, received)
        return record

    async def _is_elsewhere(self, upload: str, journal: _PartialJournal) -> bool:
        """Whether another stream has written the record since this one did."""
        record = await self._load(upload)
        return record is not None and record.etag != journal.etag

    async def _load(self, upload: str) -> _Record | None:
        try:
            found = await self._store.load(_record_key(upload))
        except BlobNotFound:
            return None
        fields = json.loads(found.data)
        return _Record(
            key=fields["key"],
            checkpoint=Checkpoint(
                DigestState(fields["size_bytes"], fields["sha256"]), tuple(fields["pieces"])
            ),
            update_time=datetime.fromisoformat(fields["update_time"]),
            etag=found.etag,
        )


class _PartialJournal(Journal):
    """Writes the record of one upload, until another stream does."""

    def __init__(
        self, store: BlobStore, now: Clock, upload: str, key: str, begun: _Record | None
    ) -> None:
        self._store = store
        self._now = now
        self._upload = upload
        self._key = key
        self._begun = begun
        # Makes the record of each stream another, so that their etags differ.
        self._stream = uuid.uuid4().hex
        self.etag = begun.etag if begun else None

    @property
    @override
    def upload(self) -> str:
        return self._upload

    @property
    @override
    def begun(self) -> Checkpoint | None:
        return self._begun.checkpoint if self._begun else None

    @override
    async def save(self, checkpoint: Checkpoint) -> None:
        if checkpoint.state.sha256 is None:
            return  # nobody could check what follows
        fields = {
            "key": self._key,
            "size_bytes": checkpoint.state.size_bytes,
            "sha256": checkpoint.state.sha256,
            "pieces": checkpoint.pieces,
            "update_time": self._now().isoformat(),
            "stream": self._stream,
        }
        try:
            self.etag = await self._store.compare_and_swap(
                _record_key(self._upload), json.dumps(fields).encode(), etag=self.etag
            )
        except BlobChanged:
            raise UploadChanged(self._upload) from None


def _record_key(upload: str) -> str:
    if not _UPLOAD.fullmatch(upload):
        raise ValueError(f"{upload!r} is no upload's id: 32 hex digits")
    return f"{PARTIAL_PREFIX}{upload}"
