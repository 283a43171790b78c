"""Streams of files: a header, then chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import BinaryIO, Final, TypeVar

from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.model_service_pb2 import RepairArtifactRequest, UploadArtifactRequest

from services.registry.core.errors import MalformedUpload, TruncatedUpload, UploadTooLarge

READ_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 8
"""What tells a format with code in it from others."""


PartT = TypeVar("PartT", UploadSnapshotFileRequest, UploadArtifactRequest, RepairArtifactRequest)


async def first_part(parts: AsyncIterator[PartT]) -> PartT:
    """The stream's first message, which has the header.

    Raises:
        MalformedUpload: It hasn't, or there is none.
    """
    async for part in parts:
        if not part.HasField("header"):
            break
        return part
    raise MalformedUpload("The first message of an upload must be its header.")


async def read_chunks(parts: AsyncIterator[PartT]) -> AsyncGenerator[bytes]:
    """The bytes behind the header.

    Raises:
        MalformedUpload: A second header came.
    """
    async for part in parts:
        if part.HasField("header"):
            raise MalformedUpload("An upload has one header, before all chunks.")
        yield part.chunk


async def checked_chunks(
    chunks: AsyncGenerator[bytes],
    path: str,
    *,
    max_bytes: int,
    check_head: Callable[[bytes], None] | None = None,
) -> AsyncGenerator[bytes]:
    """The same chunks, as long as they may be stored.

    Args:
        chunks: Of a file, or of its end.
        path: For errors.
        max_bytes: Most that are accepted.
        check_head: Sees the first 8 bytes or more, or all if there are fewer.

    Raises:
        UploadTooLarge: There are more than `max_bytes`.
    """
    size_bytes = 0
    head = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise UploadTooLarge(path, max_bytes)
            if check_head is not None and len(head) < HEAD_BYTES:
                head += chunk
                check_head(head)
            yield chunk


async def spool(chunks: AsyncIterator[bytes], target: BinaryIO, *, path: str, digest: str) -> None:
    """Write a stream to a file, hashing it on the way.

    Raises:
        TruncatedUpload: It doesn't have the declared digest.
    """
    running = hashlib.sha256()

    def take(chunk: bytes) -> None:
        running.update(chunk)
        target.write(chunk)

    async for chunk in chunks:
        await asyncio.to_thread(take, chunk)
    received = f"sha256:{running.hexdigest()}"
    if received != digest:
        raise TruncatedUpload(path, digest, received)
    target.seek(0)


async def file_chunks(file: BinaryIO) -> AsyncGenerator[bytes]:
    """The bytes of a file from its beginning."""
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, READ_BYTES):
        yield chunk


def digest_of_file(file: BinaryIO) -> tuple[str, int]:
    """Digest and size of a file. Blocks."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}", file.tell()
