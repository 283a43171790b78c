"""Counts the requests of the endpoints whose objectives are asked about, as the log grows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

from services.common.errors import ServiceError
from services.monitor.core.slos.events import RequestEvents
from services.monitor.core.stream.batches import Batch, ObservationBatch
from services.monitor.core.stream.ports import PredictionLog

T = TypeVar("T")

IDLE_S: Final = 3600.0
"""Seconds after which requests that nobody asked about are forgotten; should somebody ask again,
they are counted again from the log."""

_Key: TypeAlias = tuple[str, timedelta | None]
_Task: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Followed:
    events: RequestEvents
    asked_at: float


class RequestFollower:
    """Follows the log in the order it was handed in, so that a restart counts the same.

    Args:
        log: Where the past comes from.
        position: Of the newest batch that was in the log before any is handed in.
    """

    def __init__(self, log: PredictionLog, position: int) -> None:
        self._log = log
        self._position = position
        self._followed: dict[_Key, _Followed] = {}
        self._tasks: asyncio.Queue[_Task] = asyncio.Queue()

    def take(self, batches: Sequence[Batch]) -> None:
        """Count these batches, the next ones of the log, soon."""
        for batch in batches:
            self._tasks.put_nowait(partial(self._apply, batch))

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: What the log raises; the counts are then no longer the log's, so the
                process has to start over.
        """
        while True:
            task = await self._tasks.get()
            await task()

    async def asked(
        self, endpoint: str, latency_bound: timedelta | None, ask: Callable[[RequestEvents], T]
    ) -> T:
        """What `ask` makes of the requests of an endpoint as they stand.

        Args:
            endpoint: By resource name.
            latency_bound: See `RequestEvents`.
            ask: Reads them.

        Raises:
            Unavailable: The log can't be read at present.
            ServiceError: What `ask` raises.
        """
        answered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.put_nowait(partial(self._answer, (endpoint, latency_bound), ask, answered))
        return await answered

    async def _answer(
        self, key: _Key, ask: Callable[[RequestEvents], T], answered: asyncio.Future[T]
    ) -> None:
        try:
            answer = await asyncio.to_thread(ask, await self._events(key))
        except ServiceError as error:
            if not answered.done():
                answered.set_exception(error)
            return
        if not answered.done():
            answered.set_result(answer)

    async def _events(self, key: _Key) -> RequestEvents:
        now = asyncio.get_running_loop().time()
        if key not in self._followed:
            endpoint, latency_bound = key
            batches = await self._log.replay(endpoint, since=None, until_position=self._position)
            events = RequestEvents(endpoint, latency_bound)
            await asyncio.to_thread(_observe, events, batches)
            self._followed[key] = _Followed(events, now)
        self._followed[key].asked_at = now
        return self._followed[key].events

    async def _apply(self, batch: Batch) -> None:
        forgotten_before = asyncio.get_running_loop().time() - IDLE_S
        for key, followed in list(self._followed.items()):
            if followed.asked_at < forgotten_before:
                del self._followed[key]
            else:
                await asyncio.to_thread(_observe, followed.events, [batch])
        self._position = batch.position


def _observe(events: RequestEvents, batches: Sequence[Batch]) -> None:
    for batch in batches:
        if isinstance(batch, ObservationBatch):
            events.observe(batch)
