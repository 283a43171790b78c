"""One blob by a multipart upload, several parts of it under way at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from urllib3.exceptions import HTTPError

from services.common.blobs.checkpoints import (
    CHECKPOINT_BYTES,
    Checkpoint,
    DigestState,
    Journal,
)
from services.common.blobs.digests import StreamCheck, Written
from services.common.blobs.errors import BlobStoreUnavailable, SizeMismatch, UploadChanged
from services.common.blobs.s3_calls import S3Calls
from services.common.blobs.s3_writes import (
    NoSuchUploadError,
    Precondition,
    PreconditionError,
    RefusedError,
    S3Writes,
)
from services.common.blobs.threads import ended, in_thread

PART_BYTES: Final = 8 << 20
"""A stream that fits one part is one PUT. S3 wants 5 MiB at least and 10,000 parts at most,
which makes 78 GiB the largest blob."""

_UNDER_WAY: Final = 3
"""Parts of one stream; with those that are gathered and hashed it holds some 40 MiB."""

_TRIES: Final = 3
_FIRST_PAUSE_S: Final = 0.2

_KNOWN: Final = (
    BlobStoreUnavailable,
    NoSuchUploadError,
    RefusedError,
    SizeMismatch,
    UploadChanged,
)

Part: TypeAlias = Sequence[bytes]
"""The bytes of one part, in the chunks in which they came."""


class PartsUpload:
    """One multipart upload, from its first part or from where a broken one ended.

    Args:
        writes: To the bucket.
        calls: Runs them.
        name: Of the object.
        check: Of the whole blob, begun where the journal is.
        journal: Gets checkpoints; None where a broken upload shall leave nothing.
    """

    def __init__(
        self,
        writes: S3Writes,
        calls: S3Calls,
        name: str,
        check: StreamCheck,
        journal: Journal | None,
    ) -> None:
        self._writes = writes
        self._calls = calls
        self._name = name
        self._check = check
        self._journal = journal
        begun = journal.begun if journal else None
        self._upload_id = begun.pieces[0] if begun else ""
        self._etags = list(begun.pieces[1:]) if begun else []
        self._reached = Checkpoint(check.state(), (self._upload_id, *self._etags))
        self._saved = self._reached
        self._whole = False
        self._hashed: asyncio.Future[DigestState] | None = None
        self._under_way: deque[tuple[asyncio.Future[DigestState], asyncio.Future[str]]] = deque()

    async def store(self, parts: AsyncIterable[Part], precondition: Precondition) -> Written:
        """Make one object of the parts before and these.

        Raises:
            PreconditionError: The object is not as required.
            UploadChanged: The parts before are gone, or the upload goes on elsewhere.
        """
        try:
            if not self._upload_id:
                await self._begin()
            async for part in parts:
                await self._add(part)
            while self._under_way:
                await self._settle_oldest()
            written = self._check.finish()
            self._whole = True
            self._reach(self._check.state())
            await self._complete(precondition)
        except BaseException as error:
            await asyncio.shield(self._break_off())
            if isinstance(error, NoSuchUploadError):
                raise UploadChanged(self._journal.upload if self._journal else "") from None
            raise
        return written

    async def _begin(self) -> None:
        self._upload_id = await self._calls.run(self._writes.begin, self._name)
        self._reach(self._check.state())
        await self._save()

    async def _add(self, part: Part) -> None:
        if self._hashed is not None:
            await self._hashed
        self._hashed = in_thread(self._hash, part)
        while self._under_way and (len(self._under_way) == _UNDER_WAY or self._oldest_is_done()):
            await self._settle_oldest()
        number = len(self._etags) + len(self._under_way) + 1
        self._under_way.append((self._hashed, self._calls.start(self._put, number, part)))

    def _oldest_is_done(self) -> bool:
        return all(future.done() for future in self._under_way[0])

    async def _settle_oldest(self) -> None:
        hashed, put = self._under_way[0]
        state = await hashed
        self._etags.append(await self._calls.result(put))
        del self._under_way[0]
        self._reach(state)
        reached_bytes = self._reached.state.size_bytes
        if reached_bytes - self._saved.state.size_bytes >= CHECKPOINT_BYTES:
            await self._save()

    def _reach(self, state: DigestState) -> None:
        # Nothing may follow a short part, so only the last may be one.
        if self._whole or state.size_bytes % PART_BYTES == 0:
            self._reached = Checkpoint(state, (self._upload_id, *self._etags))

    async def _save(self) -> None:
        if self._journal is not None:
            await self._journal.save(self._reached)
            self._saved = self._reached

    async def _complete(self, precondition: Precondition) -> None:
        """Join the parts; a repeat, after an answer that got lost, finds the object there."""
        try:
            await self._calls.run(
                self._writes.complete, self._name, self._upload_id, self._etags, precondition
            )
        except NoSuchUploadError:
            is_there = await self._calls.run(self._writes.exists, self._name)
            if precondition and is_there:
                raise PreconditionError from None
            raise

    async def _break_off(self) -> None:
        """Keep what has arrived, or nothing, once the calls under way have ended."""
        futures = [future for pair in self._under_way for future in pair]
        await ended(futures)
        with suppress(*_KNOWN):  # what stops the upload is raised already
            while self._journal and self._under_way:
                await self._settle_oldest()
        with suppress(*_KNOWN):
            if self._journal is None:
                await self._calls.run(self._writes.abort, self._name, self._upload_id)
            elif self._reached != self._saved:
                await self._save()

    def _hash(self, part: Part) -> DigestState:
        for chunk in part:
            self._check.update(chunk)
        return self._check.state()

    def _put(self, number: int, part: Part) -> str:
        """Store one part; sent twice, it is the same."""
        for tried in range(1, _TRIES):
            try:
                return self._writes.put_part(self._name, self._upload_id, number, part)
            except (BlobStoreUnavailable, HTTPError):
                time.sleep(_FIRST_PAUSE_S * 2**tried)
        return self._writes.put_part(self._name, self._upload_id, number, part)


async def in_parts(chunks: AsyncIterable[bytes]) -> AsyncGenerator[Part]:
    """The same bytes in parts of `PART_BYTES`, the last of them shorter; none for no bytes."""
    part: list[bytes] = []
    room = PART_BYTES
    async for chunk in chunks:
        while len(chunk) >= room:
            part.append(chunk[:room])
            yield part
            chunk = chunk[room:]
            part, room = [], PART_BYTES
        if chunk:
            part.append(chunk)
            room -= len(chunk)
    if part:
        yield part


def size_of(part: Part) -> int:
    """Bytes in a part."""
    return sum(map(len, part))
