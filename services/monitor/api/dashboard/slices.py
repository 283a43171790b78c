"""What the debug view says of slices: by window, and in the newest rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.common.resources import PageQuery
from services.common.rpc.remote import RemoteError
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.transactions import Transactions
from services.monitor.core.families import ModelHistories
from services.monitor.core.ports import Json, MonitorLists, MonitorTx
from services.monitor.core.resources import PerformanceReport, SliceQuality
from services.monitor.core.rollout_slices import SliceFinding, SlicesOfRollouts
from services.monitor.core.slices import COMPARED, SliceStanding, standings
from services.monitor.core.use_cases.lookup import the_monitor, the_performance_report

REPORTS: Final = 100
"""Of a monitor's windows, the newest, each version's apart."""


class Slices:
    """The documents behind slices.

    Args:
        transactions: The monitor's.
        histories: What versions scored before they served.
        rollouts: What was found while two versions served.
    """

    def __init__(
        self, transactions: Transactions, histories: ModelHistories, rollouts: SlicesOfRollouts
    ) -> None:
        self._transactions = transactions
        self._histories = histories
        self._rollouts = rollouts

    async def reports(self, monitor: str) -> Document:
        """Which features slice, and the windows that can be chosen.

        Raises:
            MonitorNotFound: There is none.
        """

        def read(tx: MonitorTx, lists: MonitorLists) -> Document:
            watched = the_monitor(tx, monitor, "monitor")
            query = PageQuery(monitor, REPORTS, "", order_by="window_start_time desc")
            reports = lists.performance_reports(query).items if watched.slices else ()
            return {
                "features": list(watched.slices),
                "reports": [_of_report(each) for each in reports if each.slices],
            }

        return await self._transactions.read_lists(read)

    async def of_report(self, name: str) -> Document:
        """The slices of one window and version, the one that is most surely worse first.

        While the registry is away, what they scored on held-out rows is unknown.

        Raises:
            ReportNotFound: There is none.
        """
        report = await self._transactions.read(lambda tx: the_performance_report(tx, name))
        held_out: Mapping[tuple[str, str], Mapping[str, float]] = {}
        unknown = ""
        if report.version:
            try:
                test = await self._histories.test_of(report.version)
                held_out = test.slices if test else {}
            except RemoteError as error:
                unknown = str(error)
        return {
            **_of_report(report),
            "whole": dict(report.metrics),
            "unknown": unknown,
            "metrics": {metric: _ranked(report, metric, held_out) for metric in COMPARED},
        }

    async def of_rollout(self, monitor: str) -> Document:
        """What the newest rollout of the monitor's endpoint that has any slices found in them.

        Raises:
            MonitorNotFound: There is none.
            RemoteError: Inference is away.
        """
        endpoint = await self._transactions.read(
            lambda tx: the_monitor(tx, monitor, "monitor").endpoint
        )
        found = await self._rollouts.newest(endpoint)
        if found is None:
            return {"rollout": "", "version": "", "previous_version": "", "findings": []}
        return {
            "rollout": found.rollout,
            "version": found.version,
            "previous_version": found.previous_version,
            "findings": [_of_finding(each) for each in found.worst_first],
        }


def _of_report(report: PerformanceReport) -> Mapping[str, Json]:
    return {
        "name": report.meta.name,
        "version": report.version,
        "window_start": report.window_start.isoformat(),
        "window_end": report.window_end.isoformat(),
        "outcomes": report.outcomes,
    }


def _ranked(
    report: PerformanceReport,
    metric: str,
    held_out: Mapping[tuple[str, str], Mapping[str, float]],
) -> list[Document]:
    """Those that can be told, the worst first, then the others."""
    found = standings(report, metric)
    told = {(each.slice.feature, each.slice.value) for each in found}
    others = [each for each in report.slices if (each.feature, each.value) not in told]
    return [
        *(_of_standing(each, metric, held_out) for each in found),
        *(_of_slice(each, metric, held_out) for each in others),
    ]


def _of_standing(
    standing: SliceStanding,
    metric: str,
    held_out: Mapping[tuple[str, str], Mapping[str, float]],
) -> Document:
    return {
        **_of_slice(standing.slice, metric, held_out),
        "worse_by": standing.worse_by,
        "half_width": standing.half_width,
        "is_worse": standing.is_worse,
    }


def _of_slice(
    each: SliceQuality, metric: str, held_out: Mapping[tuple[str, str], Mapping[str, float]]
) -> Document:
    return {
        "feature": each.feature,
        "value": each.value,
        "predictions": each.predictions,
        "outcomes": each.outcomes,
        "measured": each.metrics.get(metric),
        "calibration_bias": each.metrics.get("calibration_bias"),
        "held_out": held_out.get((each.feature, each.value), {}).get(metric),
        "worse_by": None,
    }


def _of_finding(finding: SliceFinding) -> Document:
    return {
        "phase": finding.phase,
        "feature": finding.feature,
        "value": finding.value,
        "measure": finding.measure,
        "rows": finding.rows,
        "effect": finding.effect,
        "tolerance": finding.tolerance,
        "verdict": finding.verdict,
        "reason": finding.reason,
    }
