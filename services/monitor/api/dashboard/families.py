"""What the executive view says of every model: how well the versions that served did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.common.resources import PageQuery
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.transactions import Transactions
from services.monitor.core.families import (
    Family,
    ModelHistories,
    ServedVersion,
    Service,
    Skill,
    families_of,
)
from services.monitor.core.names import parent_of
from services.monitor.core.ports import MonitorLists, MonitorTx
from services.monitor.core.resources import PerformanceReport
from services.monitor.core.use_cases.lookup import the_monitor

MONITORS: Final = 40
"""Of a project, the oldest: most whose windows are told."""

REPORTS: Final = 200
"""On versions, of one monitor, the newest."""


class Families:
    """The document behind quality by model family.

    Args:
        transactions: The monitor's.
        histories: Which versions served.
    """

    def __init__(self, transactions: Transactions, histories: ModelHistories) -> None:
        self._transactions = transactions
        self._histories = histories

    async def of(self, monitor: str) -> Document:
        """Every model of the monitor's project with the versions that served.

        Raises:
            MonitorNotFound: There is none.
            RemoteError: The registry or inference is away.
        """
        project = parent_of(monitor)

        def read(tx: MonitorTx, lists: MonitorLists) -> Sequence[PerformanceReport]:
            the_monitor(tx, monitor, "monitor")
            names = [each.meta.name for each in tx.every_monitor()]
            return [
                report
                for name in [name for name in names if parent_of(name) == project][:MONITORS]
                for report in lists.performance_reports(_newest(name)).items
                if report.version
            ]

        reports = await self._transactions.read_lists(read)
        histories = await self._histories.of(project)
        return {
            "families": [_of_family(family) for family in families_of(histories, reports)],
            "left_out": histories.left_out,
        }


def _newest(monitor: str) -> PageQuery:
    return PageQuery(monitor, REPORTS, "", order_by="window_start_time desc")


def _of_family(family: Family) -> Document:
    return {"model": family.model, "versions": [_of_version(each) for each in family.versions]}


def _of_version(served: ServedVersion) -> Document:
    return {
        "version": served.version,
        "services": [_of_service(each) for each in served.services],
        "evaluation": served.test.evaluation if served.test else "",
        "skill": _of_skill(served.skill),
        "live": [
            {
                "window_start": each.report.window_start.isoformat(),
                "outcomes": each.report.outcomes,
                "skill": _of_skill(each.skill),
            }
            for each in served.live
        ],
    }


def _of_service(service: Service) -> Document:
    return {"endpoint": service.endpoint, "since": service.since.isoformat()}


def _of_skill(skill: Skill | None) -> Document | None:
    if skill is None:
        return None
    return {
        "metric": skill.metric,
        "value": skill.value,
        "share": skill.share,
        "half_width": skill.half_width,
    }
