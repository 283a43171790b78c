"""Where each kind of SLI gets its events from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from services.monitor.core.resources import Monitor, PerformanceReport
from services.monitor.core.slos.budgets import SloReading, read_slo
from services.monitor.core.slos.events import RequestEvents, SingleEvents, judged_windows
from services.monitor.core.slos.following import RequestFollower
from services.monitor.core.slos.objectives import Slo

_MOST_WINDOWS: Final = 5000


class JobHistory(Protocol):
    """The project's training jobs."""

    async def ended(self, project: str) -> Sequence[tuple[datetime, bool]]:
        """When each that is over ended, and whether it succeeded; cancelled ones left out.

        Raises:
            Unavailable: It can't be told at present.
        """
        ...


class Reports(Protocol):
    """The monitor's reports over all versions."""

    def __call__(self, monitor: str, limit: int) -> Awaitable[Sequence[PerformanceReport]]:
        """The newest ones."""
        ...


class Meter:
    """Reads objectives.

    Args:
        requests: Counts requests.
        reports: Gives quality.
        jobs: Gives jobs.
    """

    def __init__(self, requests: RequestFollower, reports: Reports, jobs: JobHistory) -> None:
        self._requests = requests
        self._reports = reports
        self._jobs = jobs

    async def read(self, slo: Slo, monitor: Monitor, end: datetime | None = None) -> SloReading:
        """How an objective of a monitor stands.

        Args:
            slo: The objective.
            monitor: Its monitor.
            end: When to look at it, see `read_slo`.

        Raises:
            Unavailable: Its events can't be told at present.
            BudgetNotKept: The events of that time are not known any more.
        """
        sli = slo.sli
        if sli.kind.counts_requests:
            ask: Callable[[RequestEvents], SloReading] = partial(read_slo, slo, end=end)
            return await self._requests.asked(monitor.endpoint, sli.latency_bound, ask)
        if sli.quality is not None:
            limit = min(_MOST_WINDOWS, slo.window // max(monitor.window, timedelta(minutes=1)) + 1)
            reports = await self._reports(
                monitor.meta.name, limit if end is None else _MOST_WINDOWS
            )
            return read_slo(slo, judged_windows(reports, sli.quality), end)
        project = monitor.meta.name.partition("/monitors/")[0]
        return read_slo(slo, SingleEvents(await self._jobs.ended(project)), end)
