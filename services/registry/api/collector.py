"""Carries out collection plans, item by item, in one process at a time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.common.blobs.content import ContentStore
from services.common.blobs.digests import parse_digest
from services.common.blobs.errors import BlobStoreUnavailable, DeletionExpired
from services.common.blobs.port import UnfinishedUpload
from services.common.blobs.staging import Staging, Unfinished
from services.common.errors import Unavailable
from services.common.store.leases import Lease
from services.registry.api.transactions import Transactions
from services.registry.core.ports import RegistryTx
from services.registry.core.retention.plans import CollectionPlan, Item, ItemKind, ItemState
from services.registry.core.use_cases import collection
from services.registry.core.use_cases.collection import Stored, StoredBlob, StoredPartial

log = structlog.get_logger()

LEASE: Final = "collection"
_REST_S: Final = 0.5


class Collector:
    """Removes what plans name, as far as it is still true.

    Args:
        transactions: The registry's.
        contents: Where the bytes are.
        staging: Where those are that are not stored for good yet.
        removal: How long one request to remove bytes is good for, in whole seconds.
        clock_skew: How far the clocks of the registry and of the store may be apart.
        abandoned_after: Age from which an unfinished upload is taken for abandoned.
    """

    def __init__(
        self,
        transactions: Transactions,
        contents: ContentStore,
        staging: Staging,
        *,
        removal: timedelta,
        clock_skew: timedelta,
        abandoned_after: timedelta,
    ) -> None:
        self._transactions = transactions
        self._contents = contents
        self._staging = staging
        self._removal = removal
        self._clock_skew = clock_skew
        self._abandoned_after = abandoned_after
        self._begun = asyncio.Event()

    def wake(self) -> None:
        """Look at once: a plan was begun."""
        self._begun.set()

    async def stored(self, now: datetime) -> Stored:
        """What the store holds."""
        blobs = [StoredBlob(found.digest, found.size_bytes) for found in await self._contents.all()]
        resumable = {
            piece for upload in await self._staging.partials.unfinished() for piece in upload.pieces
        }
        before = now - self._abandoned_after
        partials = [
            StoredPartial(found.key, found.handle)
            for found in await self._contents.unfinished()
            if found.begin_time <= before and found.handle not in resumable
        ]
        partials += [
            StoredPartial(found.key, "")
            for found in await self._staging.unfinished()
            if found.update_time <= before
        ]
        return Stored(blobs, partials)

    async def run(self, lease: Lease) -> None:
        """Collect until cancelled; a process that takes over goes on at the same item.

        Raises:
            LeaseLost: Another process collects now.
        """
        while True:
            self._begun.clear()
            try:
                while await self._step(lease):
                    pass
            except Unavailable as error:
                log.warning("collection.interrupted", reason=error.reason)
                await asyncio.sleep(_REST_S)
                continue
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_REST_S):
                await self._begun.wait()
        except TimeoutError:
            return

    async def _step(self, lease: Lease) -> bool:
        """Settle one item, if there is one."""
        if await self._transactions.read(lambda tx: tx.running_plan()) is None:
            return False
        found = await self._transactions.write_under(lease, collection.next_item)
        if found is None:
            return False
        plan, item = found
        if item.kind is ItemKind.BLOB:
            await self._collect_blob(lease, plan, item)
        elif item.kind is ItemKind.PARTIAL_UPLOAD:
            await self._collect_partial(lease, plan, item)
        else:
            await self._transactions.write_under(
                lease, lambda tx: collection.collect_resource(tx, plan.meta.name, item)
            )
        return True

    async def _collect_blob(self, lease: Lease, plan: CollectionPlan, item: Item) -> None:
        def condemn(tx: RegistryTx) -> tuple[Item, datetime]:
            lifetime = self._removal + self._clock_skew
            return collection.condemn_blob(tx, plan.meta.name, item, lifetime), tx.now

        condemned, begun = await self._transactions.write_under(lease, condemn)
        if condemned.state is not ItemState.CONDEMNED:
            return
        try:
            await self._contents.remove_within(parse_digest(item.subject), begun, self._removal)
        except (BlobStoreUnavailable, DeletionExpired) as error:
            # Whether it was removed isn't known: the next step condemns and removes it again.
            log.warning("collection.removal_repeated", digest=item.subject, cause=str(error))
            await asyncio.sleep(_REST_S)
            return
        while not await self._transactions.write_under(  # noqa: ASYNC110 - waits for the clock
            lease, lambda tx: collection.absolve_blob(tx, plan.meta.name, condemned)
        ):
            await asyncio.sleep(_REST_S)

    async def _collect_partial(self, lease: Lease, plan: CollectionPlan, item: Item) -> None:
        name = plan.meta.name
        claimed = await self._transactions.write_under(
            lease, lambda tx: collection.spared_partial(tx, name, item)
        )
        if claimed:
            return
        if item.handle:
            upload = UnfinishedUpload(item.subject, item.handle, plan.meta.create_time)
            await self._contents.drop_unfinished(upload)
        else:
            await self._staging.discard(Unfinished(item.subject, 0, plan.meta.create_time))
        await self._transactions.write_under(
            lease,
            lambda tx: collection.settle(tx, name, item, ItemState.COLLECTED, item.detail),
        )
