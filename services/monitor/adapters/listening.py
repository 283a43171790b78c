"""Hearing of another service's events for as long as this one runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from services.common.rpc.remote import RemoteError

log = structlog.get_logger()


async def keep_listening(
    look: Callable[[], Awaitable[None]], every_s: float, *, peer: str
) -> NoReturn:
    """Look again and again until cancelled, also while the peer is away, which is said once.

    Raises:
        LeaseLost: Another process goes on; as `look` raises it.
    """
    is_away = False
    while True:
        try:
            await look()
            is_away = False
        except RemoteError as error:
            if not is_away:
                log.warning("events.unheard", peer=peer, cause=str(error))
            is_away = True
        await asyncio.sleep(every_s)
