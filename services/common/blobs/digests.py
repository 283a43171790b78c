"""SHA-256 digests, and streams checked against them."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import NewType

from services.common.blobs.checkpoints import DigestState
from services.common.blobs.errors import DigestMismatch, SizeMismatch
from services.common.blobs.running import RunningSha256
from services.common.blobs.threads import ended, in_thread

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: str) -> Digest:
    """`text` as a digest.

    Raises:
        ValueError: It is not one.
    """
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is not 'sha256:' and 64 lower-case hexadecimal digits")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """The digest of bytes already in memory."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


async def once(data: bytes) -> AsyncGenerator[bytes]:
    """A stream of one chunk, for bytes already in memory."""
    yield data


@dataclass(frozen=True, slots=True)
class Written:
    """What a stream turned out to be.

    Attributes:
        digest: Of all its bytes.
        size_bytes: How many there were.
    """

    digest: Digest
    size_bytes: int


class StreamCheck:
    """The running digest and size of a stream, held against what was promised of it.

    Args:
        digest: What the bytes must hash to; None accepts any.
        size_bytes: How many there must be; None accepts any number.
        begun: The check of the bytes before the stream; None if it is the whole.
    """

    def __init__(
        self, digest: Digest | None, size_bytes: int | None, begun: DigestState | None = None
    ) -> None:
        self._promised_digest = digest
        self._promised_size = size_bytes
        self._running = RunningSha256(begun.sha256 if begun else None)
        self._size = begun.size_bytes if begun else 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes in. Blocks for up to 3 ms a MiB.

        Raises:
            SizeMismatch: There are already more than promised.
        """
        self._size += len(chunk)
        if self._promised_size is not None and self._size > self._promised_size:
            raise SizeMismatch(self._promised_size, self._size)
        self._running.update(chunk)

    def state(self) -> DigestState:
        """The check so far, for another to go on from."""
        return DigestState(self._size, self._running.state())

    def finish(self) -> Written:
        """What the whole stream was.

        Raises:
            SizeMismatch: It ended early.
            DigestMismatch: Its bytes are not the promised ones.
        """
        if self._promised_size is not None and self._size != self._promised_size:
            raise SizeMismatch(self._promised_size, self._size)
        digest = Digest(f"sha256:{self._running.hexdigest()}")
        if self._promised_digest is not None and digest != self._promised_digest:
            raise DigestMismatch(self._promised_digest, digest)
        return Written(digest, self._size)


async def verified(
    chunks: AsyncIterable[bytes], digest: Digest, *, size_bytes: int | None = None
) -> AsyncGenerator[bytes]:
    """The same chunks, the last of them only once the whole has proved to match.

    Each chunk is hashed while the one before it is used and the next one fetched.

    Raises:
        SizeMismatch: There are more or fewer bytes than `size_bytes`.
        DigestMismatch: They do not hash to `digest`.
    """
    check = StreamCheck(digest, size_bytes)
    held: bytes | None = None
    hashed: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            if hashed is not None:
                await hashed
            hashed = in_thread(check.update, chunk)
            if held is not None:
                yield held
            held = chunk
    finally:
        await ended([hashed] if hashed else [])
    if hashed is not None:
        hashed.result()
    check.finish()
    if held is not None:
        yield held
