"""Byte streams for tests of whatever takes or gives them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from services.common.blobs.port import BlobStore


async def stream(*chunks: bytes) -> AsyncGenerator[bytes]:
    """The chunks, one by one."""
    for chunk in chunks:
        yield chunk


async def broken_stream(*chunks: bytes) -> AsyncGenerator[bytes]:
    """The chunks, then ConnectionResetError in place of the rest."""
    for chunk in chunks:
        yield chunk
    raise ConnectionResetError


async def collected(chunks: AsyncIterable[bytes]) -> bytes:
    """All the bytes of a stream."""
    return b"".join([chunk async for chunk in chunks])


async def content(store: BlobStore, key: str, *, offset: int = 0) -> bytes:
    """The bytes stored under a key."""
    return await collected(store.read(key, offset=offset))
