"""Going round what the monitor's database tells; one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.ports import MonitorTx

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds of a watch, and its transactions.

    Attributes:
        database: The monitor's.
        interval_s: How long it rests between two rounds.
        now: The clock.
    """

    database: Database
    interval_s: float
    now: Clock

    async def keep(
        self,
        find: Callable[[MonitorTx], Sequence[T]],
        settle: Callable[[T], Awaitable[R]],
        tell: Callable[[Sequence[R]], None] = lambda _: None,
    ) -> NoReturn:
        """Settle one after the other what is found, round after round, until cancelled.

        What `settle` raises ends the rounds; what it gives of a round, `tell` hears.
        """
        while True:
            tell([await settle(each) for each in await self.read(find)])
            await asyncio.sleep(self.interval_s)

    async def read(self, work: Callable[[MonitorTx], T]) -> T:
        """What `work` finds."""
        return await self.database.read(
            lambda connection: work(SqlMonitorTx(connection, self.now()))
        )

    async def write(self, lease: Lease, work: Callable[[MonitorTx], T]) -> T:
        """What `work` gives, once it is durable.

        Raises:
            LeaseLost: Another process goes on; nothing is written.
        """

        def guarded(connection: Connection) -> T:
            leases.guard(connection, lease)
            return work(SqlMonitorTx(connection, self.now()))

        return await self.database.write(guarded)
