"""Use cases run in transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar, cast

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.mutations import Mutation, Mutations, fingerprint_of
from services.common.store.database import Database
from services.common.store.leases import Lease, guard
from services.registry.core.ports import Answer, Recorder, RegistryLists, RegistryTx

T = TypeVar("T")
R = TypeVar("R", bound=Message)


class Transactions:
    """Opens the registry's transactions over a database.

    Args:
        database: The registry's.
        now: The clock.
        open_tx: The port `RegistryTx` over a connection.
        open_lists: The port `RegistryLists` over a connection.
        recorder: Makes each change durable in the blob store, too.
    """

    def __init__(
        self,
        database: Database,
        now: Clock,
        *,
        open_tx: Callable[[Connection, datetime], RegistryTx],
        open_lists: Callable[[Connection, datetime], RegistryLists],
        recorder: Recorder,
    ) -> None:
        self._database = database
        self._mutations = Mutations(database, now)
        self._now = now
        self._open_tx = open_tx
        self._open_lists = open_lists
        self._recorder = recorder

    async def read(self, work: Callable[[RegistryTx], T]) -> T:
        """What `work` gives, from one consistent view."""
        return await self._database.read(
            lambda connection: work(self._open_tx(connection, self._now()))
        )

    async def read_lists(self, work: Callable[[RegistryTx, RegistryLists], T]) -> T:
        """What `work` gives, from one consistent view, with lists."""

        def both(connection: Connection) -> T:
            now = self._now()
            return work(self._open_tx(connection, now), self._open_lists(connection, now))

        return await self._database.read(both)

    async def mutate(
        self, request: Mutation, response_type: type[R], work: Callable[[RegistryTx], R]
    ) -> R:
        """What `work` gives, once durable; a repeat of the request gets the first answer."""

        number: int | None = None  # stays so where the request was answered before

        def recorded(connection: Connection) -> R:
            nonlocal number
            tx = self._open_tx(connection, self._now())
            response = work(tx)
            fingerprint = fingerprint_of(cast("Message", request))
            answer = Answer(request.request_id, fingerprint, response.SerializeToString())
            number = tx.finish(answer)
            return response

        response = await self._mutations.run(request, response_type, recorded)
        await self._recorder.ship(number)
        return response

    async def answered(self, request: Mutation, response_type: type[R]) -> R | None:
        """The answer that the request got before, if it did; for work too dear to repeat."""
        return await self._mutations.answered(request, response_type)

    async def write(self, work: Callable[[RegistryTx], T]) -> T:
        """What `work` gives, once durable; for claims, which are no part of the records."""
        return await self._database.write(
            lambda connection: work(self._open_tx(connection, self._now()))
        )

    async def write_under(self, lease: Lease, work: Callable[[RegistryTx], T]) -> T:
        """What `work` gives, once durable, for a controller that holds `lease`.

        Raises:
            LeaseLost: Another process holds it; nothing happened.
        """

        number = 0

        def guarded(connection: Connection) -> T:
            nonlocal number
            guard(connection, lease)
            tx = self._open_tx(connection, self._now())
            result = work(tx)
            number = tx.finish()
            return result

        result = await self._database.write(guarded)
        await self._recorder.ship(number)
        return result
