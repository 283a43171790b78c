"""Stored bytes, streamed to a client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.common.blobs.content import ContentStore
from services.common.blobs.digests import parse_digest
from services.common.blobs.errors import BlobNotFound
from services.registry.core.errors import BytesMissing


async def stored_chunks(
    contents: ContentStore, digest: str, *, owner: str, path: str, offset_bytes: int = 0
) -> AsyncGenerator[bytes]:
    """The bytes of one recorded file; from 0, the last chunk comes only if all of them match.

    Args:
        contents: Where the bytes are.
        digest: Of the whole file.
        owner: Snapshot or version that has it; for errors.
        path: Of the file in its owner; for errors.
        offset_bytes: First byte wanted.

    Raises:
        DigestMismatch: What is stored has been damaged.
        BytesMissing: It is gone.
        OffsetOutOfRange: `offset_bytes` is behind the end.
    """
    try:
        async with aclosing(contents.read(parse_digest(digest), offset=offset_bytes)) as chunks:
            async for chunk in chunks:
                yield chunk
    except BlobNotFound as error:
        raise BytesMissing(owner, path, digest) from error
