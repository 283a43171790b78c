"""Takes pages up that nobody sees to; one process at a time."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter

from services.common.store.leases import Lease
from services.monitor.adapters.rounds import Rounds
from services.monitor.core.alerts.alerting import Alert
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
        rounds: Over the pages.
        escalation: The policy.
    """

    def __init__(self, rounds: Rounds, escalation: Escalation) -> None:
        self._rounds = rounds
        self._escalation = escalation

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        await self._rounds.keep(
            partial(overdue, escalation=self._escalation), partial(self._escalate, lease)
        )

    async def _escalate(self, lease: Lease, alert: Alert) -> None:
        name = alert.meta.name
        receiver = await self._rounds.write(
            lease, lambda tx: escalate_overdue(tx, name, self._escalation)
        )
        if receiver:
            _ESCALATIONS.labels(receiver).inc()
            log.warning("alert.escalated", alert=name, receiver=receiver)
