"""The scrub: every version read again, slowly, before a reader needs it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from services.common.errors import NotFound, Unavailable
from services.common.store.leases import Lease
from services.registry.api.integrity import Integrity
from services.registry.api.transactions import Transactions
from services.registry.core.errors import BytesCollected

log = structlog.get_logger()

LEASE: Final = "scrub"
_LONGEST_REST_S: Final = 60.0
_LOOKS_PER_PERIOD: Final = 20
"""A version is verified at most this share of the period late."""


class Scrub:
    """Verifies whatever was verified longest ago.

    Args:
        transactions: The registry's.
        integrity: Reads versions.
        period: Longest time that a version goes unverified.
        bytes_per_s: Fastest reading.
    """

    def __init__(
        self,
        transactions: Transactions,
        integrity: Integrity,
        *,
        period: timedelta,
        bytes_per_s: int,
    ) -> None:
        self._transactions = transactions
        self._integrity = integrity
        self._period = period
        self._bytes_per_s = bytes_per_s

    async def run(self, lease: Lease) -> None:
        """Scrub until cancelled; `lease` keeps other replicas from doing the same.

        Raises:
            LeaseLost: Another replica scrubs now.
        """
        rest_s = min(self._period.total_seconds() / _LOOKS_PER_PERIOD, _LONGEST_REST_S)
        while True:
            name = await self._due()
            if name is None or not await self._verified(lease, name):
                await asyncio.sleep(rest_s)

    async def _due(self) -> str | None:
        return await self._transactions.read(lambda tx: tx.stalest_version(tx.now - self._period))

    async def _verified(self, lease: Lease, name: str) -> bool:
        try:
            version = await self._integrity.verify_under(lease, name, self._pace)
        except (NotFound, BytesCollected):  # deleted or collected meanwhile
            return True
        except Unavailable as error:
            log.warning("scrub.interrupted", version=name, reason=error.reason)
            return False
        if version.quarantine is not None:
            paths = [fault.path for fault in version.quarantine.faults]
            log.error("scrub.version_damaged", version=name, paths=paths)
        return True

    async def _pace(self, size_bytes: int) -> None:
        await asyncio.sleep(size_bytes / self._bytes_per_s)
