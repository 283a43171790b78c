"""The port `BlobStore`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from services.common.blobs.checkpoints import Checkpoint, Journal
from services.common.blobs.digests import Digest, Written
from services.common.blobs.errors import BlobNotFound

CHUNK_BYTES = 1 << 20
"""Longest chunk that a read yields, and what one message on the wire may carry."""

_KEY = re.compile(r"[A-Za-z0-9._=-]{1,200}(/[A-Za-z0-9._=-]{1,200})*")
_MAX_KEY_LENGTH = 700


def check_key(key: str) -> None:
    """Accept only keys that every adapter can hold.

    Raises:
        ValueError: A segment is empty, is `.` or `..`, is over 200 characters or has
            one outside `A-Z a-z 0-9 . _ = -`, or the key is over 700 in all.
    """
    dotted = {".", ".."}.intersection(key.split("/"))
    if len(key) > _MAX_KEY_LENGTH or dotted or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key that every store can hold")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One stored blob.

    Attributes:
        key: What it is stored under.
        size_bytes: How long it is.
    """

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TaggedBlob:
    """The whole of a small blob, and the tag to swap it by.

    Attributes:
        data: Its bytes.
        etag: Opaque; the same only while the bytes are the same.
    """

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request that needs no credentials until it expires. Never log it.

    Attributes:
        method: `GET` or `PUT`.
        url: With the signature; not shown by `repr`.
        headers: To be sent as they are; the signature covers them.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """What a process that was killed while it wrote has left in the store, unseen.

    Attributes:
        key: What was to be stored under; empty where the store doesn't know.
        handle: What the store calls it.
        begin_time: When it was begun, or last written to.
    """

    key: str
    handle: str
    begin_time: datetime


class BlobStore(Protocol):
    """Bytes under keys, shared by any number of processes.

    A write is visible whole or not at all, and durable once it returns. All writes to one
    key are linearizable. Keys are what `check_key` accepts; none may be the folder of
    another (`a` beside `a/b`), since a directory can't hold both.

    Every method may raise BlobStoreUnavailable; a write that does may have happened.
    """

    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
    ) -> Written:
        """Store the stream, replacing what the key held.

        Needs a few MiB of memory, however long the stream is.

        Raises:
            DigestMismatch, SizeMismatch: The stream is not what was promised, or what
                `chunks` itself raises; in each case nothing has changed.
        """
        ...

    async def create(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
        journal: Journal | None = None,
    ) -> Written:
        """Store the stream if the key holds nothing; of concurrent calls exactly one wins.

        With a journal, the stream goes on where `journal.begun` ended, and checkpoints are
        saved on the way and when it fails; the pieces that they name stay until `drop_pieces`
        or until the blob is stored. Digest and size are those of the whole blob.

        Raises:
            BlobExists: The key is taken. The stream has been read and checked all the same.
            DigestMismatch, SizeMismatch: As for `put`.
            UploadChanged: The pieces are gone, or belong to another stream by now.
        """
        ...

    async def drop_pieces(self, upload: str, key: str, checkpoint: Checkpoint | None) -> None:
        """Free what a broken `create` of `key` with a journal left. Idempotent.

        Args:
            upload: The journal's.
            key: That was to be created.
            checkpoint: The last that was saved, if one was.
        """
        ...

    def read(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes from `offset` on, in chunks of at most `CHUNK_BYTES`, all of one write.

        Raises:
            BlobNotFound: The key holds nothing.
            OffsetOutOfRange: `offset` is negative or behind the end; at the end it yields nothing.
            BlobChanged: It was replaced meanwhile, and the rest of the old bytes is gone.
        """
        ...

    async def head(self, key: str) -> BlobInfo:
        """What is stored under the key.

        Raises:
            BlobNotFound: Nothing is.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Whether anything is stored under the key."""
        try:
            await self.head(key)
        except BlobNotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Remove the blob, if there is one."""
        ...

    async def delete_within(self, key: str, begun: datetime, lifetime: timedelta) -> None:
        """Remove the blob, if there is one, but never later than `begun + lifetime`.

        A request that is held up on its way, even beyond the life of this process, is refused
        by the store when it arrives after that. Sent once.

        Args:
            key: Of the blob.
            begun: A moment of this machine's clock, not ahead of it.
            lifetime: Whole seconds, at least one.

        Raises:
            DeletionExpired: It is too late; nothing was removed.
        """
        ...

    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        """What interrupted writes have left, those under way now among them.

        Args:
            prefix: Of the keys; what has no known key is always given.
        """
        ...

    async def drop_unfinished(self, upload: UnfinishedUpload) -> None:
        """Free what an interrupted write has left. Idempotent."""
        ...

    async def list_blobs(self, prefix: str = "") -> list[BlobInfo]:
        """Every blob whose key starts with `prefix`, in the byte order of the keys."""
        ...

    async def load(self, key: str) -> TaggedBlob:
        """All of a blob that fits in memory, with its etag.

        Raises:
            BlobNotFound: The key holds nothing.
        """
        ...

    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        """Replace the blob if it is still the one with `etag`, or is absent for None.

        Returns:
            The new etag.

        Raises:
            BlobChanged: It is not, or no longer, that one.
        """
        ...

    def presign_put(
        self, key: str, *, digest: Digest, size_bytes: int, lifetime: timedelta
    ) -> SignedRequest:
        """A request that stores exactly these bytes, for someone without credentials.

        A store may fail to check them, so verify what it holds before it counts.

        Raises:
            PresigningUnsupported: The store takes no requests but its own process's.
        """
        ...

    def presign_get(self, key: str, *, lifetime: timedelta) -> SignedRequest:
        """A request for the blob, for someone without credentials.

        Raises:
            PresigningUnsupported: The store takes no requests but its own process's.
        """
        ...
