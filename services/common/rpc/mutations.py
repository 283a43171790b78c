"""Mutations that may be repeated: one answer per request id (AIP-155)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store import requests
from services.common.store.database import Database

R = TypeVar("R", bound=Message)


class Mutation(Protocol):
    """A request message that changes something; `validate_only` is optional (AIP-163)."""

    @property
    def request_id(self) -> str:
        """UUID; the message's proto requires it."""


class Mutations:
    """Runs a service's mutations, each in one transaction with the memory of its answer.

    Args:
        database: Of the service.
        now: The clock.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    async def run(
        self, request: Mutation, response_type: type[R], work: Callable[[Connection], R]
    ) -> R:
        """What `work` gives; a repeat of the request gets the first answer.

        A failed `work` is not remembered, so its repeat is a new try. With the request's
        `validate_only` set, `work` runs and is rolled back, and nothing is remembered.

        Args:
            request: The message as it came.
            response_type: Of the method.
            work: Changes and reads through the one transaction; may run more than once.

        Raises:
            RequestIdReused: The id came before with another request.
        """
        if getattr(request, "validate_only", False):
            return await self._rehearse(work)
        fingerprint = fingerprint_of(cast("Message", request))

        def once(connection: Connection) -> R:
            stored = requests.replay(connection, request.request_id, fingerprint)
            if stored is not None:
                return response_type.FromString(stored)
            response = work(connection)
            requests.remember(
                connection,
                request.request_id,
                fingerprint,
                response.SerializeToString(),
                self._now(),
            )
            return response

        return await self._database.write(once)

    async def answered(self, request: Mutation, response_type: type[R]) -> R | None:
        """The answer that `request` got before, if it did; for checks too dear to repeat.

        Args:
            request: The message as it came.
            response_type: Of the method.

        Raises:
            RequestIdReused: The id came before with another request.
        """
        fingerprint = fingerprint_of(cast("Message", request))
        stored = await self._database.read(
            lambda connection: requests.replay(connection, request.request_id, fingerprint)
        )
        return None if stored is None else response_type.FromString(stored)

    async def _rehearse(self, work: Callable[[Connection], R]) -> R:
        def rehearse(connection: Connection) -> R:
            raise _Rehearsed(work(connection))

        try:
            return await self._database.write(rehearse)
        except _Rehearsed as rehearsed:
            return cast("R", rehearsed.answer)


class _Rehearsed(Exception):
    """Takes an answer out of a transaction, and the transaction back."""

    def __init__(self, answer: Message) -> None:
        super().__init__()
        self.answer = answer


def fingerprint_of(request: Message) -> str:
    """Digest over the request's type and content: equal for a repeat."""
    digest = hashlib.sha256(request.DESCRIPTOR.full_name.encode())
    digest.update(b"\0")
    digest.update(request.SerializeToString(deterministic=True))
    return digest.hexdigest()
