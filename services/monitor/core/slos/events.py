"""Good and bad events by event time: a few one by one, requests by the minute."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.monitor.core.resources import PerformanceReport
from services.monitor.core.slos.budgets import Counts
from services.monitor.core.slos.objectives import QualityBar
from services.monitor.core.stream.batches import FAILED, LATENCY, ObservationBatch, of_variants
from services.monitor.core.stream.ledger import MAX_CLOCK_SKEW
from services.monitor.core.windows import from_us

_MINUTE: Final = timedelta(minutes=1)
_MINUTE_US: Final = _MINUTE // timedelta(microseconds=1)
_SKEW_US: Final = MAX_CLOCK_SKEW // timedelta(microseconds=1)

KEPT_MINUTES: Final = timedelta(days=90) // _MINUTE
"""The longest window of an objective. Two whole numbers a minute make 2 MB."""


class SingleEvents:
    """Implements `Counted` over events that are few.

    Args:
        events: When each was, and whether it was good; in any order.
    """

    def __init__(self, events: Iterable[tuple[datetime, bool]]) -> None:
        self._events = tuple(events)

    @property
    def until(self) -> datetime | None:
        """See `Counted`."""
        newest = max((time for time, _ in self._events), default=None)
        return None if newest is None else newest + timedelta.resolution

    @property
    def kept(self) -> timedelta:
        """See `Counted`."""
        return timedelta.max

    def over(self, window: timedelta) -> Counts:
        """See `Counted`."""
        until = self.until
        inside = [good for time, good in self._events if until is None or time >= until - window]
        return Counts(sum(inside), len(inside))


def judged_windows(reports: Iterable[PerformanceReport], quality: QualityBar) -> SingleEvents:
    """The windows whose reports have enough outcomes and the metric, each at its last moment."""
    return SingleEvents(
        (
            report.window_end - timedelta.resolution,
            quality.is_met_by(report.metrics[quality.metric]),
        )
        for report in reports
        if report.outcomes >= quality.min_outcomes and quality.metric in report.metrics
    )


class MinuteEvents:
    """Implements `Counted` over any number of events. Owns its arrays; bounded."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._good: npt.NDArray[np.int64] = np.zeros(KEPT_MINUTES, np.int64)
        self._total: npt.NDArray[np.int64] = np.zeros(KEPT_MINUTES, np.int64)

    @property
    def until(self) -> datetime | None:
        """See `Counted`."""
        return None if self._newest is None else from_us((self._newest + 1) * _MINUTE_US)

    @property
    def kept(self) -> timedelta:
        """See `Counted`."""
        return KEPT_MINUTES * _MINUTE

    def over(self, window: timedelta) -> Counts:
        """See `Counted`; `window` is cut to whole minutes."""
        if self._newest is None:
            return Counts(0, 0)
        minutes = min(window // _MINUTE, KEPT_MINUTES)
        return Counts(self._sum(self._good, minutes), self._sum(self._total, minutes))

    def count(self, minutes: npt.NDArray[np.int64], good: npt.NDArray[np.bool_]) -> None:
        """Add events.

        Args:
            minutes: int64 [events], since the epoch; those that are too old are passed over.
            good: bool [events].
        """
        if not minutes.size:
            return
        self._go_on_to(int(minutes.max()))
        assert self._newest is not None
        kept = minutes > self._newest - KEPT_MINUTES
        places = minutes[kept] % KEPT_MINUTES
        np.add.at(self._total, places, 1)
        np.add.at(self._good, places, good[kept])

    def _sum(self, values: npt.NDArray[np.int64], minutes: int) -> int:
        """Of the last minutes, at least one; the array is a ring."""
        assert self._newest is not None
        end = (self._newest + 1) % KEPT_MINUTES
        start = (end - minutes) % KEPT_MINUTES
        if start < end:
            return int(values[start:end].sum())
        return int(values[start:].sum() + values[:end].sum())

    def _go_on_to(self, minute: int) -> None:
        if self._newest is None:
            self._newest = minute
        if minute > self._newest:
            first = max(self._newest + 1, minute + 1 - KEPT_MINUTES)
            fresh = np.arange(first, minute + 1) % KEPT_MINUTES
            self._good[fresh] = 0
            self._total[fresh] = 0
            self._newest = minute


class RequestEvents(MinuteEvents):
    """The requests of one endpoint.

    Args:
        endpoint: By resource name.
        latency_bound: Longest that a good one takes, and only answered ones are counted; None:
            answered ones are good.
    """

    def __init__(self, endpoint: str, latency_bound: timedelta | None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._bound_us = (
            None if latency_bound is None else latency_bound // timedelta(microseconds=1)
        )

    def observe(self, batch: ObservationBatch) -> None:
        """Count a batch's requests; a row that tells of none, as old senders' do, counts not."""
        if LATENCY not in batch.rows.column_names or FAILED not in batch.rows.column_names:
            return
        made = of_variants(batch.rows)
        rows = made.filter(pc.equal(made.column("endpoint"), self._endpoint))
        times = rows.column("event_time").cast(pa.int64()).to_numpy()
        failed = pc.fill_null(rows.column(FAILED), False).to_numpy()
        latency = pc.fill_null(rows.column(LATENCY), -1).to_numpy()
        counted = (failed | (latency >= 0)) & (times <= batch.arrival_us + _SKEW_US)
        good = ~failed
        if self._bound_us is not None:
            counted &= good
            good = latency <= self._bound_us
        self.count(times[counted] // _MINUTE_US, good[counted])
