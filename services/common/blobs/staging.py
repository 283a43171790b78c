"""What is not yet stored for good: everything under `staged/`.

    staged/partial/<upload>             the record of a stream that broke off (see `partials`)
    staged/presigned/<expiry>-<id>      bytes that somebody put by a presigned request

The rule for cleaning: what `Staging.unfinished` lists belongs to nobody once its `update_time`
is older than any client would wait, and `Staging.discard` frees it with all that it stands for;
deleting the objects under `staged/` alone would leave parts behind.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from services.common.blobs.checkpoints import PARTIAL_PREFIX
from services.common.blobs.digests import Digest
from services.common.blobs.partials import PartialUploads
from services.common.blobs.port import BlobStore, SignedRequest
from services.common.clock import Clock

PRESIGNED_PREFIX: Final = "staged/presigned/"

_TICKET: Final = re.compile(r"(?P<expiry>[0-9]{10})-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something under `staged/`.

    Attributes:
        key: Its object.
        size_bytes: What it takes up, parts included.
        update_time: When it last grew; for a presigned request, when that expires.
    """

    key: str
    size_bytes: int
    update_time: datetime


@dataclass(frozen=True, slots=True)
class UploadOffer:
    """Leave to put some bytes.

    Attributes:
        ticket: Names the place that they go to.
        request: Puts them.
        expire_time: Until when.
    """

    ticket: str
    request: SignedRequest
    expire_time: datetime


class Staging:
    """Places for bytes that have yet to prove themselves.

    Args:
        store: Where they are.
        now: The clock.
    """

    def __init__(self, store: BlobStore, now: Clock) -> None:
        self._store = store
        self._now = now
        self.partials = PartialUploads(store, now)

    def offer(self, digest: Digest, size_bytes: int, lifetime: timedelta) -> UploadOffer:
        """A request that puts these bytes in a place of their own.

        Raises:
            PresigningUnsupported: No URL leads to the store.
        """
        # The place knows by its name when it may be cleaned up.
        expire_time = (self._now() + lifetime).replace(microsecond=0)
        ticket = f"{int(expire_time.timestamp()):010}-{uuid.uuid4().hex}"
        request = self._store.presign_put(
            _key(ticket), digest=digest, size_bytes=size_bytes, lifetime=lifetime
        )
        return UploadOffer(ticket, request, expire_time)

    def read(self, ticket: str) -> AsyncGenerator[bytes]:
        """The bytes that came, whatever they are.

        Raises:
            BlobNotFound: None came.
        """
        return self._store.read(_key(ticket))

    async def free(self, ticket: str) -> None:
        """Give the place up. Idempotent."""
        await self._store.delete(_key(ticket))

    async def unfinished(self) -> list[Unfinished]:
        """Everything under `staged/`."""
        found = [
            Unfinished(f"{PARTIAL_PREFIX}{each.upload}", each.received_bytes, each.update_time)
            for each in await self.partials.unfinished()
        ]
        for info in await self._store.list_blobs(PRESIGNED_PREFIX):
            ticket = _TICKET.fullmatch(info.key.removeprefix(PRESIGNED_PREFIX))
            if ticket is not None:
                expiry = datetime.fromtimestamp(int(ticket["expiry"]), UTC)
                found.append(Unfinished(info.key, info.size_bytes, expiry))
        return found

    async def discard(self, unfinished: Unfinished) -> None:
        """Free it; a stream of it under way fails. Idempotent."""
        if unfinished.key.startswith(PARTIAL_PREFIX):
            await self.partials.discard(unfinished.key.removeprefix(PARTIAL_PREFIX))
        else:
            await self._store.delete(unfinished.key)


def _key(ticket: str) -> str:
    if not _TICKET.fullmatch(ticket):
        raise ValueError(f"{ticket!r} is no ticket")
    return f"{PRESIGNED_PREFIX}{ticket}"
