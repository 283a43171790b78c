"""Verdicts on rollouts that know of the objectives of their endpoint."""

from __future__ import annotations

from services.common.clock import Clock
from services.common.store.database import Database
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.ports import Judge, RolloutCase
from services.monitor.core.use_cases.alerts import page_since
from services.monitor.core.verdicts import RolloutVerdict, in_breach


class BudgetJudge:
    """Implements `Judge`: what another one says, unless the endpoint pages.

    Args:
        judge: Compares the versions.
        database: The monitor's, with the alerts.
        now: The clock.
    """

    def __init__(self, judge: Judge, database: Database, now: Clock) -> None:
        self._judge = judge
        self._database = database
        self._now = now

    async def judge(self, case: RolloutCase) -> RolloutVerdict:
        """See `Judge`."""
        page = await self._database.read(
            lambda connection: page_since(
                SqlMonitorTx(connection, self._now()), case.endpoint, case.since
            )
        )
        # A page is enough, also where the versions can't be compared at present.
        if page is not None:
            return in_breach(page.resource, page.summary)
        return await self._judge.judge(case)
