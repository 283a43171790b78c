"""Predictions joined with their outcomes, per endpoint, window and version.

A pure function of the log: fed the same batches in the same order, it holds the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.common.profiles import Profile
from services.monitor.core.stream.batches import (
    ObservationBatch,
    OutcomeBatch,
    answered,
    of_variants,
)
from services.monitor.core.stream.tallies import Tally
from services.monitor.core.windows import Window, from_us, to_us, window_at

KEPT_WINDOWS: Final = 2
"""Windows that stay after they were judged: late outcomes join."""

MAX_CLOCK_SKEW: Final = timedelta(hours=1)
"""A prediction said to be made later than this after it arrived is passed over: one wrong
clock must not end everybody's windows."""


@dataclass
class EndpointBook:
    """The open windows of one endpoint.

    Attributes:
        length: Of a window.
        outcome_delay: How long after a window's end it is judged.
        judged_until: End of the newest judged window; None before the first.
        watermark: Latest event time of any prediction.
        slices: Features whose values slice.
        windows: Tallies by window and version.
    """

    length: timedelta
    outcome_delay: timedelta
    judged_until: datetime | None
    slices: tuple[str, ...] = ()
    watermark: datetime | None = None
    windows: dict[Window, dict[str, Tally]] = field(default_factory=dict)

    def due(self) -> Window | None:
        """The oldest window with predictions that can be judged and was not yet."""
        if self.watermark is None:
            return None
        open_windows = (
            window
            for window in sorted(self.windows)
            if self.judged_until is None or window.start >= self.judged_until
        )
        oldest = next(open_windows, None)
        if oldest is None or oldest.end + self.outcome_delay > self.watermark:
            return None
        return oldest

    def keeps_from(self) -> datetime | None:
        """Start of the oldest window whose predictions are still needed; None: all are."""
        if self.judged_until is None:
            return None
        return self.judged_until - KEPT_WINDOWS * self.length


@dataclass(frozen=True, slots=True)
class _Place:
    tally: Tally
    index: int


class Ledger:
    """All endpoints' predictions and outcomes."""

    def __init__(self) -> None:
        self.books: dict[str, EndpointBook] = {}
        self.position = 0
        self._places: dict[str, _Place] = {}
        self._parked: dict[str, tuple[int, int]] = {}

    def open(self, endpoint: str, book: EndpointBook) -> None:
        """Follow an endpoint from here on."""
        self.books[endpoint] = book

    def close(self, endpoint: str) -> None:
        """Follow an endpoint no longer and forget its predictions."""
        book = self.books.pop(endpoint, None)
        if book is not None:
            gone = {id(tally) for versions in book.windows.values() for tally in versions.values()}
            self._forget(gone)

    def observe(self, batch: ObservationBatch, profiles: Mapping[str, Profile | None]) -> None:
        """Count a batch of predictions; those of a fallback, seen before, of no kept window,
        from before 1970 or from the future are passed over.

        Args:
            batch: The next one of the log.
            profiles: Baseline of each version in the batch.
        """
        self.position = batch.position
        predictions = answered(of_variants(batch.rows))
        for endpoint in pc.unique(predictions.column("endpoint")).to_pylist():
            book = self.books.get(endpoint)
            if book is not None:
                rows = predictions.filter(pc.equal(predictions.column("endpoint"), endpoint))
                self._observe_endpoint(book, rows, batch.arrival_us, profiles)

    def learn(self, batch: OutcomeBatch) -> None:
        """Join a batch of outcomes; those whose prediction has not come yet wait for it."""
        self.position = batch.position
        ids = batch.rows.column("prediction_id").to_pylist()
        outcomes = batch.rows.column("outcome").to_pylist()
        times = batch.rows.column("event_time").cast(pa.int64()).to_pylist()
        for prediction, outcome, time_us in zip(ids, outcomes, times, strict=True):
            place = self._places.get(prediction)
            if place is not None:
                place.tally.learn(place.index, outcome, time_us)
                continue
            waiting = self._parked.get(prediction)
            if waiting is None or time_us >= waiting[1]:
                self._parked[prediction] = (outcome, time_us)

    def judged(self, endpoint: str, window: Window) -> None:
        """Note that a window was judged, and forget what is no longer needed."""
        book = self.books[endpoint]
        book.judged_until = window.end
        keep = book.keeps_from()
        assert keep is not None
        old = [window for window in book.windows if window.start < keep]
        self._forget({id(tally) for key in old for tally in book.windows.pop(key).values()})
        horizon = self._oldest_needed()
        if horizon is not None:
            self._parked = {
                key: value for key, value in self._parked.items() if value[1] >= horizon
            }

    def _observe_endpoint(
        self,
        book: EndpointBook,
        rows: pa.Table,
        arrival_us: int,
        profiles: Mapping[str, Profile | None],
    ) -> None:
        times = rows.column("event_time").cast(pa.int64()).to_numpy()
        latest = arrival_us + MAX_CLOCK_SKEW // timedelta(microseconds=1)
        credible = (times >= 0) & (times <= latest)
        if not credible.any():
            return
        newest = from_us(int(times[credible].max()))
        book.watermark = newest if book.watermark is None else max(book.watermark, newest)
        length_us = book.length // timedelta(microseconds=1)
        anchor_us = to_us(window_at(newest, book.length).start)
        offsets = (times - anchor_us) // length_us
        fresh = self._fresh(rows) & credible
        for offset in np.unique(offsets).tolist():
            window = window_at(from_us(anchor_us + offset * length_us), book.length)
            keep = book.keeps_from()
            if keep is not None and window.start < keep:
                continue
            inside = rows.filter(pa.array((offsets == offset) & fresh))
            for version in pc.unique(inside.column("variant")).to_pylist():
                own = inside.filter(pc.equal(inside.column("variant"), version))
                tallies = book.windows.setdefault(window, {})
                tally = tallies.setdefault(version, Tally(profiles[version], book.slices))
                self._count(tally, own)

    def _fresh(self, rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        fresh = np.ones(rows.num_rows, np.bool_)
        within: set[str] = set()
        for index, prediction in enumerate(rows.column("prediction_id").to_pylist()):
            if prediction in self._places or prediction in within:
                fresh[index] = False
            within.add(prediction)
        return fresh

    def _count(self, tally: Tally, rows: pa.Table) -> None:
        first = tally.observe(rows)
        for index, prediction in enumerate(rows.column("prediction_id").to_pylist(), first):
            self._places[prediction] = _Place(tally, index)
            waiting = self._parked.pop(prediction, None)
            if waiting is not None:
                tally.learn(index, *waiting)

    def _forget(self, tallies: set[int]) -> None:
        if tallies:
            self._places = {
                key: place for key, place in self._places.items() if id(place.tally) not in tallies
            }

    def _oldest_needed(self) -> int | None:
        needed = [book.keeps_from() for book in self.books.values()]
        if not needed or any(start is None for start in needed):
            return None
        return to_us(min(start for start in needed if start is not None))
