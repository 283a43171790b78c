"""Use cases run in transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.mutations import Mutation, Mutations
from services.common.store.database import Database
from services.trainer.core.ports import TrainerReads, TrainerTx

T = TypeVar("T")
R = TypeVar("R", bound=Message)


class Transactions:
    """Opens the trainer's transactions over a database.

    Args:
        database: The trainer's.
        now: The clock.
        open_tx: The port `TrainerTx` over a connection.
        open_reads: The port `TrainerReads` over a connection.
    """

    def __init__(
        self,
        database: Database,
        now: Clock,
        *,
        open_tx: Callable[[Connection, datetime], TrainerTx],
        open_reads: Callable[[Connection, datetime], TrainerReads],
    ) -> None:
        self._database = database
        self._mutations = Mutations(database, now)
        self._now = now
        self._open_tx = open_tx
        self._open_reads = open_reads
        self._written = asyncio.Event()
        database.on_write(self._wake)

    async def read(self, work: Callable[[TrainerTx, TrainerReads], T]) -> T:
        """What `work` gives, from one consistent view."""

        def both(connection: Connection) -> T:
            now = self._now()
            return work(self._open_tx(connection, now), self._open_reads(connection, now))

        return await self._database.read(both)

    async def write(self, work: Callable[[TrainerTx], T]) -> T:
        """What `work` gives, once durable; for calls that are idempotent by themselves."""
        return await self._database.write(
            lambda connection: work(self._open_tx(connection, self._now()))
        )

    async def mutate(
        self,
        request: Mutation,
        response_type: type[R],
        work: Callable[[TrainerTx, TrainerReads], R],
    ) -> R:
        """What `work` gives, once durable; a repeat of the request gets the first answer."""

        def both(connection: Connection) -> R:
            now = self._now()
            return work(self._open_tx(connection, now), self._open_reads(connection, now))

        return await self._mutations.run(request, response_type, both)

    async def answered(self, request: Mutation, response_type: type[R]) -> R | None:
        """The answer that a mutation got before, if it did."""
        return await self._mutations.answered(request, response_type)

    def moment(self) -> asyncio.Event:
        """Is set by the first write from now on."""
        return self._written

    @staticmethod
    async def passed(moment: asyncio.Event, longest_s: float) -> None:
        """Wait until `moment` is over, or for `longest_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await moment.wait()

    def _wake(self) -> None:
        self._written.set()
        self._written = asyncio.Event()
