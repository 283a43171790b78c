"""What the dashboard's views read: each a bounded document from one consistent view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.common.resources import PageQuery
from services.monitor.api.dashboard import documents
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.transactions import Transactions
from services.monitor.core.attention import concerns, in_order
from services.monitor.core.heat import summary_of
from services.monitor.core.judging import EVERY_VERSION
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.ports import MonitorLists, MonitorTx, ServingExplainer
from services.monitor.core.use_cases.lookup import the_drift_report, the_monitor

MONITORS: Final = 200
"""Most monitors that the dashboard shows, the oldest first."""

EPISODES: Final = 50
DECISIONS: Final = 50
QUALITY_WINDOWS: Final = 106
"""Two years of weeks."""

DRIFT_WINDOWS: Final = 26
HEAT_MAP_FEATURES: Final = 40
VERSION_REPORTS: Final = 200
CONCERNS: Final = 200

_NEWEST_WINDOW: Final = "window_start_time desc"
_WAY: Final = [
    *(state.value for state in EpisodeState if not state.is_over),
    EpisodeState.PROMOTED.value,
]


class Reads:
    """The documents behind the page.

    Args:
        transactions: The monitor's.
        explainer: Walks back from what serves.
    """

    def __init__(self, transactions: Transactions, explainer: ServingExplainer) -> None:
        self._transactions = transactions
        self._explainer = explainer

    async def monitors(self) -> Document:
        """What can be chosen."""

        def read(tx: MonitorTx) -> Document:
            every = tx.every_monitor()
            return {
                "monitors": [documents.of_monitor(each) for each in every[:MONITORS]],
                "left_out": max(0, len(every) - MONITORS),
            }

        return await self._transactions.read(read)

    async def explanation(self, monitor: str) -> Document:
        """What serves at the monitor's endpoint, and the tree of its causes.

        Raises:
            MonitorNotFound: There is none.
            EndpointNotFound: Inference has no such endpoint.
            RemoteError: Another service is away.
        """
        endpoint = await self._transactions.read(
            lambda tx: the_monitor(tx, monitor, "monitor").endpoint
        )
        return documents.of_cause(await self._explainer.explain(endpoint))

    async def loop(self, monitor: str) -> Document:
        """What is under way, what was decided, and how earlier episodes went.

        Raises:
            MonitorNotFound: There is none.
        """

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            the_monitor(tx, monitor, "monitor")
            return {
                "way": _WAY,
                "episodes": [documents.of_episode(each) for each in _episodes(lists, monitor)],
            }

        return await self._transactions.read_lists(read)

    async def executive(self, monitor: str) -> Document:
        """Quality window by window, how episodes ended month by month, and the decisions.

        Raises:
            MonitorNotFound: There is none.
        """

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            the_monitor(tx, monitor, "monitor")
            quality = tx.newest_performance(monitor, EVERY_VERSION, QUALITY_WINDOWS)
            decisions = lists.decisions(PageQuery(monitor, DECISIONS, ""))
            return {
                "quality": [documents.of_performance(report) for report in reversed(quality)],
                "ends": _ends_by_month(_episodes(lists, monitor)),
                "decisions": decisions.map(documents.of_decision),
            }

        return await self._transactions.read_lists(read)

    async def on_call(self) -> Document:
        """What people have to look at, over all monitors."""

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            monitors = [each.meta.name for each in tx.every_monitor()[:MONITORS]]
            found = in_order(
                [
                    concern
                    for monitor in monitors
                    for concern in concerns(
                        next(iter(lists.drift_summaries(monitor, 1)), None),
                        _episodes(lists, monitor),
                    )
                ]
            )
            return {
                "monitors": len(monitors),
                "concerns": [documents.of_concern(each) for each in found[:CONCERNS]],
                "left_out": max(0, len(found) - CONCERNS),
            }

        return await self._transactions.read_lists(read)

    async def debug(self, monitor: str) -> Document:
        """How far each feature drifted in each window, and how each version did.

        Raises:
            MonitorNotFound: There is none.
        """

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            the_monitor(tx, monitor, "monitor")
            reports = lists.performance_reports(
                PageQuery(monitor, VERSION_REPORTS, "", order_by=_NEWEST_WINDOW)
            )
            return {
                **documents.heat_map(
                    lists.drift_summaries(monitor, DRIFT_WINDOWS), HEAT_MAP_FEATURES
                ),
                "versions": [
                    documents.of_performance(report) for report in reports.items if report.version
                ],
            }

        return await self._transactions.read_lists(read)

    async def histograms(self, report: str, feature: str) -> Document:
        """Both histograms of one feature in one window, by each detector that looked at it.

        Raises:
            ReportNotFound: There is none.
        """

        def read(tx: MonitorTx) -> Document:
            found = the_drift_report(tx, report)
            points = [point for point in found.points if point.feature == feature]
            return {
                "window": documents.of_drift(summary_of(found)),
                "points": [documents.of_point(point) for point in points],
            }

        return await self._transactions.read(read)

    async def drift_slices(self, report: str) -> Document:
        """Where one window drifts, slice by slice; null in `slices` where nothing slices.

        Raises:
            ReportNotFound: There is none.
        """
        found = await self._transactions.read(lambda tx: the_drift_report(tx, report))
        return {
            "window": documents.of_drift(summary_of(found)),
            "slices": None if found.slices is None else documents.of_slice_drift(found.slices),
        }

    async def attributions(self, report: str) -> Document:
        """What the scores of one window follow; null in `attributions` where nothing is known.

        Raises:
            ReportNotFound: There is none.
        """
        found = await self._transactions.read(lambda tx: the_drift_report(tx, report))
        told = found.attributions
        return {"attributions": None if told is None else documents.of_attributions(told)}


def _episodes(lists: MonitorLists, monitor: str) -> Sequence[Episode]:
    return lists.episodes(PageQuery(monitor, EPISODES, "")).items


def _ends_by_month(episodes: Sequence[Episode]) -> list[Document]:
    """How the episodes that are over ended, by the month of their data, the oldest first."""
    months: dict[str, dict[str, int]] = {}
    for episode in reversed(episodes):
        if episode.is_over:
            ends = months.setdefault(f"{episode.event_time:%Y-%m}", {})
            ends[episode.state.value] = ends.get(episode.state.value, 0) + 1
    return [{"month": month, "ends": ends} for month, ends in sorted(months.items())]
