"""Claims on stored contents, for as long as an upload lasts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import structlog

from services.common.errors import Unavailable
from services.registry.api.transactions import Transactions
from services.registry.core.errors import ContentCondemned
from services.registry.core.ports import RegistryTx
from services.registry.core.retention import fence
from services.registry.core.retention.fence import Claim

log = structlog.get_logger()

TTL: Final = timedelta(seconds=60)
"""How long a collector waits for an uploader that says nothing."""

_LONGEST_WAIT_S: Final = 5.0
"""For a content that is being collected; after that the caller tries again."""


class HeldClaim:
    """A claim on one content."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.redeemed = False

    def redeem(self, tx: RegistryTx) -> None:
        """Give it up in the transaction that records what refers to the content.

        Raises:
            ContentCondemned: It was broken; nothing may be recorded.
        """
        fence.redeem(tx.blobs, self.claim)
        self.redeemed = True


class BlobClaims:
    """Claims contents for this process's uploads.

    Args:
        transactions: The registry's.
        holder: This process; the same again after a restart.
    """

    def __init__(self, transactions: Transactions, holder: str) -> None:
        self._transactions = transactions
        self._holder = holder
        self._held: set[str] = set()

    @asynccontextmanager
    async def on(self, digest: str) -> AsyncIterator[HeldClaim]:
        """A claim on a content, which nobody removes meanwhile; to be redeemed in the block.

        Raises:
            ContentCondemned: The content is being collected.
        """
        held = HeldClaim(await self._taken(digest))
        self._held.add(held.claim.uid)
        try:
            yield held
        finally:
            self._held.discard(held.claim.uid)
            if not held.redeemed:
                await asyncio.shield(self._release(held.claim))

    async def _taken(self, digest: str) -> Claim:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _LONGEST_WAIT_S
        while True:
            try:
                return await self._transactions.write(
                    lambda tx: fence.claim(
                        tx.blobs,
                        Claim(uuid.uuid4().hex, digest, self._holder, tx.now + TTL),
                        tx.now,
                    )
                )
            except ContentCondemned as error:
                if loop.time() + error.retry_after_s > give_up:
                    raise
                await asyncio.sleep(error.retry_after_s)

    async def _release(self, claim: Claim) -> None:
        try:
            await self._transactions.write(lambda tx: tx.blobs.drop_claim(claim.uid))
        except Unavailable as error:  # it runs out by itself
            log.warning("claim.not_released", digest=claim.digest, reason=error.reason)

    async def forget_former(self) -> None:
        """Drop the claims of the process that this one takes the place of.

        One that a server commits only after that, for a process that was killed, runs out.
        """
        await self._transactions.write(lambda tx: tx.blobs.drop_claims_of(self._holder))

    async def run(self) -> None:
        """Prolong what is held until cancelled."""
        while True:
            await asyncio.sleep(TTL.total_seconds() / 3)
            if self._held:
                try:
                    await self._transactions.write(self._prolong)
                except Unavailable as error:
                    log.warning("claims.not_prolonged", reason=error.reason)

    def _prolong(self, tx: RegistryTx) -> None:
        tx.blobs.prolong_claims(tuple(self._held), tx.now + TTL)
