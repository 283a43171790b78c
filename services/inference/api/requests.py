"""How requests run as transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.mutations import Mutation, Mutations
from services.common.store.database import Database
from services.inference.core.ports import InferenceTx

T = TypeVar("T")
R = TypeVar("R", bound=Message)


class Transactions:
    """Runs use cases over a database.

    Args:
        database: The service's.
        now: The clock.
        open_tx: The port `InferenceTx` over a connection.
    """

    def __init__(
        self, database: Database, now: Clock, open_tx: Callable[[Connection], InferenceTx]
    ) -> None:
        self._database = database
        self._mutations = Mutations(database, now)
        self._open_tx = open_tx
        self.now = now

    async def read(self, work: Callable[[InferenceTx], T]) -> T:
        """What `work` gives, from one consistent view."""
        return await self._database.read(lambda connection: work(self._open_tx(connection)))

    async def mutate(
        self, request: Mutation, response_type: type[R], work: Callable[[InferenceTx], R]
    ) -> R:
        """What `work` gives, once durable; a repeat of the request gets the first answer."""
        return await self._mutations.run(
            request, response_type, lambda connection: work(self._open_tx(connection))
        )
