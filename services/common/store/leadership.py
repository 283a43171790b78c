"""Runs a controller in one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from services.common.clock import Clock
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease, LeaseLost

log = structlog.get_logger()

TTL: Final = timedelta(seconds=6)
"""How long work rests after its holder's machine is gone; a restarted holder goes on at once."""


async def lead(
    database: Database,
    name: str,
    holder: str,
    now: Clock,
    work: Callable[[Lease], Awaitable[None]],
) -> None:
    """Run `work` whenever this process holds the lease `name`; returns only by cancellation.

    `work` is cancelled when the lease is lost and must guard its writes with it.
    If it raises, the error is logged and it starts again after a second.

    Args:
        database: Where the lease lives.
        name: What is led, such as `rollouts`.
        holder: This process; the same again after a restart.
        now: The clock.
        work: The controller's loop.
    """
    while True:
        lease = await database.write(lambda tx: leases.claim(tx, name, holder, TTL, now()))
        if lease is None:
            await asyncio.sleep(TTL.total_seconds() / 3)
            continue
        log.info("lease.claimed", lease=name, fence=lease.fence)
        try:
            await _work_while_held(database, lease, now, work)
        except LeaseLost:
            log.warning("lease.lost", lease=name, fence=lease.fence)
        except Exception:  # a supervisor loop: a bug in one pass must not end the controller
            log.exception("controller.failed", lease=name)
            await asyncio.sleep(1)


async def _work_while_held(
    database: Database, lease: Lease, now: Clock, work: Callable[[Lease], Awaitable[None]]
) -> None:
    async def beat() -> None:
        while True:
            await asyncio.sleep(TTL.total_seconds() / 3)
            await database.write(lambda tx: leases.heartbeat(tx, lease, TTL, now()))

    worker = asyncio.ensure_future(work(lease))
    heart = asyncio.ensure_future(beat())
    try:
        done, _ = await asyncio.wait({worker, heart}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (worker, heart):
            task.cancel()
        await asyncio.gather(worker, heart, return_exceptions=True)
