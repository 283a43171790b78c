"""Blocking work in threads that leaves nothing behind when its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(work: Callable[..., T], *args: object) -> asyncio.Future[T]:
    """Blocking work, begun in another thread."""
    return asyncio.get_running_loop().run_in_executor(None, work, *args)


async def settled(future: asyncio.Future[T]) -> T:
    """Its result; whoever is cancelled meanwhile goes on only once it is over."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def opened(opening: Callable[[], T], close: Callable[[T], object]) -> T:
    """What `opening` gives in a thread; closed where the caller is cancelled before it has it."""
    future = in_thread(opening)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.exception():
            close(future.result())
        raise


async def ended(futures: Collection[asyncio.Future[Any]]) -> None:
    """Nothing, once all are over; failures that nobody asked for are not logged."""
    if futures:
        await asyncio.wait(futures)
    for future in futures:
        if not future.cancelled():
            future.exception()
