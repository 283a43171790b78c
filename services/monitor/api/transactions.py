"""Use cases run in transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.mutations import Mutation, Mutations
from services.common.store.database import Database
from services.monitor.core.ports import MonitorLists, MonitorTx

T = TypeVar("T")
R = TypeVar("R", bound=Message)


class Transactions:
    """Opens the monitor's transactions over a database.

    Args:
        database: The monitor's.
        now: The clock.
        open_tx: The port `MonitorTx` over a connection.
        open_lists: The port `MonitorLists` over a connection.
    """

    def __init__(
        self,
        database: Database,
        now: Clock,
        *,
        open_tx: Callable[[Connection, datetime], MonitorTx],
        open_lists: Callable[[Connection], MonitorLists],
    ) -> None:
        self._database = database
        self._mutations = Mutations(database, now)
        self._now = now
        self._open_tx = open_tx
        self._open_lists = open_lists

    async def read(self, work: Callable[[MonitorTx], T]) -> T:
        """What `work` gives, from one consistent view."""
        return await self._database.read(
            lambda connection: work(self._open_tx(connection, self._now()))
        )

    async def read_lists(self, work: Callable[[MonitorTx, MonitorLists], T]) -> T:
        """What `work` gives, from one consistent view, with lists."""
        return await self._database.read(
            lambda connection: work(
                self._open_tx(connection, self._now()), self._open_lists(connection)
            )
        )

    async def mutate(
        self, request: Mutation, response_type: type[R], work: Callable[[MonitorTx], R]
    ) -> R:
        """What `work` gives, once durable; a repeat of the request gets the first answer."""
        return await self._mutations.run(
            request,
            response_type,
            lambda connection: work(self._open_tx(connection, self._now())),
        )

    async def answered(self, request: Mutation, response_type: type[R]) -> R | None:
        """The answer that the request got before, if it did."""
        return await self._mutations.answered(request, response_type)
