"""What the executive view says of money and promises: error budgets, and what training cost."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.rpc.remote import DependencyUnavailable
from services.monitor.api.dashboard import documents
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.transactions import Transactions
from services.monitor.core.ports import MonitorTx, TrainingCosts
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.measuring import Meter
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.use_cases.restraints import restraints_of


class Standing:
    """The documents behind budgets and costs.

    Args:
        transactions: The monitor's.
        meter: Reads objectives.
        costs: Of training.
    """

    def __init__(self, transactions: Transactions, meter: Meter, costs: TrainingCosts) -> None:
        self._transactions = transactions
        self._meter = meter
        self._costs = costs

    async def budgets(self, monitor: str) -> Document:
        """What is left of each objective's budget, and how fast it burns.

        Raises:
            MonitorNotFound: There is none.
            Unavailable: The log of requests can't be read at present.
        """

        def read(tx: MonitorTx) -> tuple[Monitor, list[tuple[Slo, Sequence[Restraint]]]]:
            found = the_monitor(tx, monitor, "monitor")
            slos = tx.slos.under(monitor)
            return found, [(slo, restraints_of(tx, slo.meta.name)) for slo in slos]

        found, slos = await self._transactions.read(read)
        return {
            "objectives": [
                {
                    **await self._objective(slo, found),
                    "restraints": [documents.of_restraint(each) for each in restraints],
                }
                for slo, restraints in slos
            ]
        }

    async def costs(self, monitor: str) -> Document:
        """What training in the monitor's project cost, by model and by month.

        Raises:
            MonitorNotFound: There is none.
            RemoteError: The trainer is away.
        """
        await self._transactions.read(lambda tx: the_monitor(tx, monitor, "monitor"))
        costs = await self._costs.of(monitor.partition("/monitors/")[0])
        return {
            "models": [documents.of_cost(each) for each in costs.by_model],
            "months": [documents.of_cost(each) for each in costs.by_month],
        }

    async def _objective(self, slo: Slo, monitor: Monitor) -> Document:
        """While a peer that counts its events is away, only this objective says so."""
        try:
            return documents.of_reading(await self._meter.read(slo, monitor))
        except DependencyUnavailable as error:
            return documents.of_unread(slo, str(error))
