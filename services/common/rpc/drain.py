"""Ends what would never end by itself when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from services.common.errors import Unavailable

T = TypeVar("T")


class Draining(Unavailable):
    """The server is about to stop and ends the streams that follow something."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("The server is about to stop; open the stream again where it ended.")


class Drain:
    """The moment from which the server only finishes what it has begun."""

    def __init__(self) -> None:
        self._begun = False
        self._waits: set[asyncio.Timeout] = set()

    def begin(self) -> None:
        """Interrupt every wait in `until_drained`."""
        self._begun = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)

    async def until_drained(self, stream: AsyncIterator[T]) -> AsyncIterator[T]:
        """The items of `stream`; one that is being sent is never cut off.

        Raises:
            Draining: The drain began while there was nothing to send.
        """
        while True:
            if self._begun:
                raise Draining
            wait = asyncio.timeout(None)
            try:
                async with wait:
                    self._waits.add(wait)
                    item = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if wait.expired():
                    raise Draining from None
                raise
            finally:
                self._waits.discard(wait)
            yield item
