"""What the on-call and the debug view say of training: its queue, its failures, and one job."""

from __future__ import annotations

from typing import Final

from services.common.resources import PageQuery
from services.monitor.api.dashboard import troubles
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.transactions import Transactions
from services.monitor.core.alerts.incidents import incidents_of
from services.monitor.core.names import PROJECT, TRAINING_JOB, checked, parent_of
from services.monitor.core.ports import MonitorLists, MonitorTx
from services.monitor.core.training import TrainingJobs
from services.monitor.core.use_cases.lookup import the_monitor

INCIDENTS: Final = 100
ALERTS: Final = 10
"""Of one incident, the oldest."""

FAILURES: Final = 50


class Training:
    """The documents behind incidents, the queue, failures and jobs.

    Args:
        transactions: The monitor's.
        jobs: The trainer's.
    """

    def __init__(self, transactions: Transactions, jobs: TrainingJobs) -> None:
        self._transactions = transactions
        self._jobs = jobs

    async def incidents(self) -> Document:
        """What is wrong in all projects, by its cause, with the oldest alerts of each."""
        alerts = await self._transactions.read(lambda tx: tx.alerts_since(tx.now))
        found = incidents_of(alerts)
        return {
            "incidents": [
                troubles.of_incident(
                    incident, [each for each in alerts if each.incident == incident.id][:ALERTS]
                )
                for incident in found[:INCIDENTS]
            ],
            "left_out": max(0, len(found) - INCIDENTS),
        }

    async def failures(self, monitor: str) -> Document:
        """The newest failed attempts at training in the monitor's project.

        Raises:
            MonitorNotFound: There is none.
        """

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            the_monitor(tx, monitor, "monitor")
            page = lists.job_failures(PageQuery(parent_of(monitor), FAILURES, ""))
            return {"failures": page.map(lambda noted: troubles.of_failure(noted.failure))}

        return await self._transactions.read_lists(read)

    async def queue(self, monitor: str) -> Document:
        """The jobs of the monitor's project that wait or run.

        Raises:
            MonitorNotFound: There is none.
            RemoteError: The trainer is away.
        """
        jobs = await self._jobs.under_way(await self._project(monitor))
        return {"jobs": [troubles.of_job(job) for job in jobs]}

    async def newest(self, monitor: str) -> Document:
        """The newest jobs of the monitor's project.

        Raises:
            MonitorNotFound: There is none.
            RemoteError: The trainer is away.
        """
        jobs = await self._jobs.newest(await self._project(monitor))
        return {"jobs": [troubles.of_job(job) for job in jobs]}

    async def job(self, name: str) -> Document:
        """One job with its curves, checkpoints, attempts and the end of its log.

        Raises:
            InvalidName: It is the name of no job.
            RemoteError: The trainer is away, or has no such job.
        """
        return troubles.of_view(await self._jobs.view(checked(TRAINING_JOB, name, "name")))

    async def _project(self, monitor: str) -> str:
        await self._transactions.read(lambda tx: the_monitor(tx, monitor, "monitor"))
        return checked(PROJECT, parent_of(monitor), "monitor")
