"""Takes pages up that nobody sees to; one process at a time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.alerts.escalation import Escalation
from services.monitor.core.use_cases.escalating import escalate_overdue, overdue

log = structlog.get_logger()

_ESCALATIONS: Final = Counter(
    "roundhouse_monitor_escalations",
    "Pages that went up because nobody saw to them, by who was told.",
    ("receiver",),
)


class EscalationWatch:
    """Tells whom the policy names, each once for as long as nobody sees to a page.

    That a receiver was told is a step of the alert, written with its event in one transaction: a
    process that dies before it has told nobody, and one that dies after it tells nobody twice.

    Args:
        database: The monitor's.
        escalation: The policy.
        interval_s: How long it rests between two rounds.
        now: The clock.
    """

    def __init__(
        self, database: Database, escalation: Escalation, interval_s: float, now: Clock
    ) -> None:
        self._database = database
        self._escalation = escalation
        self._interval_s = interval_s
        self._now = now

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        while True:
            for name in await self._database.read(self._overdue):
                receiver = await self._database.write(partial(self._escalate, name, lease))
                if receiver:
                    _ESCALATIONS.labels(receiver).inc()
                    log.warning("alert.escalated", alert=name, receiver=receiver)
            await asyncio.sleep(self._interval_s)

    def _overdue(self, connection: Connection) -> list[str]:
        tx = SqlMonitorTx(connection, self._now())
        return [alert.meta.name for alert in overdue(tx, self._escalation)]

    def _escalate(self, name: str, lease: Lease, connection: Connection) -> str:
        leases.guard(connection, lease)
        return escalate_overdue(SqlMonitorTx(connection, self._now()), name, self._escalation)
