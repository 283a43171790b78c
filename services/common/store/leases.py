"""Leases with fencing tokens: one holder at a time, and a stale one's writes are refused.

The holder proves itself in each write transaction with `guard`. A clock that runs
ahead can take a lease early; the fence still keeps the two holders' writes apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from services.common.errors import Conflict
from services.common.store.tables import LEASE


class LeaseLost(Conflict):
    """Another holder has the lease now."""

    reason = "LEASE_LOST"

    def __init__(self, lease: str, fence: int) -> None:
        super().__init__(
            f"Lease {lease!r} is no longer held under fence {fence}; stop, its new holder goes on.",
            lease=lease,
            fence=str(fence),
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on something, until it expires.

    Attributes:
        name: What it is the right to.
        holder: Who has it.
        fence: Grows with each claim; a write under an older one is refused.
        expire_time: When others may claim it.
    """

    name: str
    holder: str
    fence: int
    expire_time: datetime


def claim(
    connection: Connection, name: str, holder: str, ttl: timedelta, now: datetime
) -> Lease | None:
    """A fresh lease, or None while another holder has it.

    A holder that comes back under its own name, such as a restarted process, gets
    the lease at once under a new fence.
    """
    row = connection.execute(select(LEASE).where(LEASE.c.name == name)).one_or_none()
    if row is None:
        lease = Lease(name, holder, 1, now + ttl)
        connection.execute(
            LEASE.insert().values(
                name=name, holder=holder, fence=lease.fence, expire_time=lease.expire_time
            )
        )
        return lease
    if row.holder not in ("", holder) and row.expire_time > now:
        return None
    lease = Lease(name, holder, row.fence + 1, now + ttl)
    connection.execute(
        LEASE.update()
        .where(LEASE.c.name == name)
        .values(holder=holder, fence=lease.fence, expire_time=lease.expire_time)
    )
    return lease


def heartbeat(connection: Connection, lease: Lease, ttl: timedelta, now: datetime) -> Lease:
    """The lease, prolonged to `ttl` from now.

    Raises:
        LeaseLost: Another holder claimed it.
    """
    guard(connection, lease)
    connection.execute(
        LEASE.update().where(LEASE.c.name == lease.name).values(expire_time=now + ttl)
    )
    return Lease(lease.name, lease.holder, lease.fence, now + ttl)


def guard(connection: Connection, lease: Lease) -> None:
    """Let the transaction pass only under the newest fence.

    A lease that ran out unclaimed still passes: nobody else has written.

    Raises:
        LeaseLost: Another holder claimed it, or it was released.
    """
    fence = connection.execute(
        select(LEASE.c.fence).where(LEASE.c.name == lease.name, LEASE.c.holder == lease.holder)
    ).scalar_one_or_none()
    if fence != lease.fence:
        raise LeaseLost(lease.name, lease.fence)


def release(connection: Connection, lease: Lease) -> None:
    """Let others claim at once; nothing happens if it is already another's."""
    connection.execute(
        LEASE.update()
        .where(
            LEASE.c.name == lease.name,
            LEASE.c.holder == lease.holder,
            LEASE.c.fence == lease.fence,
        )
        .values(holder="")
    )
