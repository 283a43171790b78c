"""What two versions did since a phase of a rollout began, counted as the log grows.

A pure function of the log: whole numbers alone, so a trial that is made again from the log after
a kill holds the same bits. Its memory is bounded, whatever the traffic and however long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.common.criteria import Criteria, Measure
from services.common.scoring import PROBABILITY_FLOOR
from services.common.slice_sketches import MAX_SLICE_VALUES
from services.monitor.core.sequential import Mean, Share
from services.monitor.core.stream.batches import (
    FAILED,
    FEATURE_PREFIX,
    LATENCY,
    ObservationBatch,
    OutcomeBatch,
    of_variants,
)
from services.monitor.core.stream.slicing import slice_value

T = TypeVar("T")

MAX_AWAITED: Final = 250_000
"""Predictions whose outcome is awaited; when there are more, every other one is given up, chosen
by its id and so without regard to what will come true."""

FIRST_REQUESTS: Final = 500
"""Of the old version, by whose latencies it is settled what is slow; only later ones count."""

_SLOW_RANK: Final = FIRST_REQUESTS * 99 // 100
_REMEMBERED: Final = 100_000
_OPEN_MOMENTS: Final = 1024
_SCALE: Final = 1_000_000
_WHOLE_HASH: Final = 1 << 32
_EVERY_REQUEST: Final = ("", "")


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What is compared.

    Attributes:
        endpoint: By resource name.
        candidate: New version, by resource name.
        champion: Old version, by resource name.
        since_us: Only what arrived from then on, server clock.
        slices: Features whose every value is counted apart.
        slow_after_us: None: what 99 % of the old version's first requests stayed below.
        loss: How quality is measured.
    """

    endpoint: str
    candidate: str
    champion: str
    since_us: int
    slices: tuple[str, ...]
    slow_after_us: int | None
    loss: Measure

    @classmethod
    def of(
        cls, endpoint: str, candidate: str, champion: str, since_us: int, criteria: Criteria
    ) -> TrialSpec:
        """What `criteria` have counted."""
        slow_after = criteria.slow_after
        slow_after_us = None if slow_after is None else round(slow_after.total_seconds() * 1e6)
        return cls(
            endpoint, candidate, champion, since_us, criteria.slices, slow_after_us, criteria.loss
        )


@dataclass(slots=True)
class ClusteredSums:
    """Sums for a mean whose rows of one moment, as those of one request, are one cluster.

    Rows of one moment share what happened then and are no independent evidence. A moment is
    forgotten after 1,024 others; rows of it that come later count as another.

    Attributes:
        rows: How many values.
        clusters: How many moments.
        total: Sum of the values, in millionths; so the others.
        sizes: Sum of the clusters' squared sizes.
        cross: Sum of their sizes times their totals.
        squares: Sum of their squared totals.
    """

    rows: int = 0
    clusters: int = 0
    total: int = 0
    sizes: int = 0
    cross: int = 0
    squares: int = 0
    _open: OrderedDict[int, tuple[int, int]] = field(default_factory=OrderedDict)

    def add(self, moment_us: int, value: int) -> None:
        """Count one value, in millionths."""
        size, total = self._open.get(moment_us, (0, 0))
        if not size:
            self.clusters += 1
            if len(self._open) >= _OPEN_MOMENTS:
                self._open.popitem(last=False)
        self._open[moment_us] = (size + 1, total + value)
        self.rows += 1
        self.total += value
        self.sizes += 2 * size + 1
        self.cross += size * value + total + value
        self.squares += (2 * total + value) * value

    def mean(self) -> Mean:
        """The mean with its standard error (Liang and Zeger, Biometrika 1986)."""
        if not self.rows:
            return Mean(0, 0.0, 0.0)
        n, m = self.rows, self.clusters
        value = self.total / n / _SCALE
        if m < 2:
            return Mean(m, value, 0.0)
        # Of the clusters' totals less their sizes times the mean, over n squared, exactly.
        spread = self.squares * n * n - 2 * self.total * self.cross * n + self.total**2 * self.sizes
        variance = m * spread / ((m - 1) * n**4)
        return Mean(m, value, variance**0.5 / _SCALE)


@dataclass(slots=True)
class Tally:
    """What one version did in one slice.

    Attributes:
        requests: Answered or not.
        failed: Not answered.
        timed: Answered since it is settled what is slow.
        slow: Slower than that.
        scores: Of every prediction.
        losses: Of the predictions whose outcome is known.
    """

    requests: int = 0
    failed: int = 0
    timed: int = 0
    slow: int = 0
    scores: ClusteredSums = field(default_factory=ClusteredSums)
    losses: ClusteredSums = field(default_factory=ClusteredSums)

    def share(self, measure: Measure) -> Share:
        """`FAILED_SHARE` or `SLOW_SHARE`."""
        if measure is Measure.FAILED_SHARE:
            return Share(self.requests, self.failed)
        return Share(self.timed, self.slow)

    def sums(self, measure: Measure) -> ClusteredSums:
        """Of the scores, or of the loss."""
        return self.scores if measure is Measure.MEAN_SCORE else self.losses


@dataclass(slots=True)
class VersionRecord:
    """What one version did, over all requests and by slice.

    Attributes:
        lowest: Of its scores, in millionths; None before the first.
        highest: So.
    """

    slices: dict[tuple[str, str], Tally] = field(default_factory=lambda: {_EVERY_REQUEST: Tally()})
    lowest: int | None = None
    highest: int | None = None

    def tally(self, key: tuple[str, str]) -> Tally:
        """Of one slice."""
        found = self.slices.get(key)
        if found is None:
            found = self.slices[key] = Tally()
        return found

    def extend_to(self, score: int) -> None:
        """Note how low and how high scores go."""
        if self.lowest is None or score < self.lowest:
            self.lowest = score
        if self.highest is None or score > self.highest:
            self.highest = score

    @property
    def overall(self) -> Tally:
        """Over all requests."""
        return self.slices[_EVERY_REQUEST]


class _Awaited(NamedTuple):
    tallies: tuple[Tally, ...]
    moment_us: int
    score: int
    label: int


class Trial:
    """One comparison. It must get every batch of the log, in their order.

    Args:
        spec: What is compared.
    """

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.candidate = VersionRecord()
        self.champion = VersionRecord()
        self.slow_after_us = spec.slow_after_us
        self._versions = {spec.candidate: self.candidate, spec.champion: self.champion}
        self._first_us: list[int] = []
        self._values: dict[str, dict[str, None]] = {feature: {} for feature in spec.slices}
        self._awaited: dict[str, _Awaited] = {}
        self._kept_hashes = _WHOLE_HASH
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._parked: OrderedDict[str, int] = OrderedDict()

    @property
    def slices(self) -> Iterable[tuple[str, str]]:
        """Feature and value of each slice that is counted."""
        return [(feature, value) for feature, seen in self._values.items() for value in seen]

    def observe(self, batch: ObservationBatch) -> None:
        """Count a batch of predictions; other endpoints', other versions' and those that came
        before the phase are passed over, and a prediction that was counted already.
        """
        if batch.arrival_us < self.spec.since_us:
            return
        versions = pa.array(list(self._versions), pa.string())
        made = of_variants(batch.rows)
        rows = made.filter(
            pc.and_(
                pc.equal(made.column("endpoint"), self.spec.endpoint),
                pc.is_in(made.column("variant"), versions),
            )
        )
        if not rows.num_rows:
            return
        slices = self._slices_of(rows)
        nothing = [None] * rows.num_rows
        scores = np.rint(rows.column("score").to_numpy().astype(np.float64) * _SCALE)
        for prediction, version, score, label, moment, failed, latency, keys in zip(
            rows.column("prediction_id").to_pylist(),
            rows.column("variant").to_pylist(),
            scores.astype(np.int64).tolist(),
            rows.column("label").to_pylist(),
            rows.column("event_time").cast(pa.int64()).to_pylist(),
            rows.column(FAILED).to_pylist() if FAILED in rows.column_names else nothing,
            rows.column(LATENCY).to_pylist() if LATENCY in rows.column_names else nothing,
            slices,
            strict=True,
        ):
            if prediction in self._seen:
                continue
            _remember(self._seen, prediction, None)
            record = self._versions[version]
            tallies = tuple([record.tally(key) for key in keys])
            if failed or latency is not None:
                self._count_request(record, tallies, None if failed else latency)
            if not failed:
                record.extend_to(score)
                self._count_prediction(prediction, _Awaited(tallies, moment, score, label))

    def learn(self, batch: OutcomeBatch) -> None:
        """Count a batch of outcomes; the first of each prediction counts."""
        ids = batch.rows.column("prediction_id").to_pylist()
        for prediction, outcome in zip(ids, batch.rows.column("outcome").to_pylist(), strict=True):
            awaited = self._awaited.pop(prediction, None)
            if awaited is not None:
                self._score(awaited, outcome)
            elif prediction not in self._seen:
                _remember(self._parked, prediction, outcome)

    def _slices_of(self, rows: pa.Table) -> list[list[tuple[str, str]]]:
        """For each row the slices that it is counted in."""
        found: list[list[tuple[str, str]]] = [[_EVERY_REQUEST] for _ in range(rows.num_rows)]
        for feature, seen in self._values.items():
            column = FEATURE_PREFIX + feature
            values = rows.column(column).to_pylist() if column in rows.column_names else ()
            for row, value in enumerate(values):
                name = slice_value(value)
                if name and (name in seen or len(seen) < MAX_SLICE_VALUES):
                    seen[name] = None
                    found[row].append((feature, name))
        return found

    def _count_request(
        self, record: VersionRecord, tallies: Iterable[Tally], latency_us: int | None
    ) -> None:
        """Count a request; without a latency it failed."""
        limit_us = self.slow_after_us
        for tally in tallies:
            tally.requests += 1
            if latency_us is None:
                tally.failed += 1
            elif limit_us is not None:
                tally.timed += 1
                tally.slow += latency_us > limit_us
        if limit_us is None and latency_us is not None and record is self.champion:
            self._first_us.append(latency_us)
            if len(self._first_us) == FIRST_REQUESTS:
                self.slow_after_us = sorted(self._first_us)[_SLOW_RANK]
                self._first_us.clear()

    def _count_prediction(self, prediction: str, made: _Awaited) -> None:
        for tally in made.tallies:
            tally.scores.add(made.moment_us, made.score)
        outcome = self._parked.pop(prediction, None)
        if outcome is not None:
            self._score(made, outcome)
        elif crc32(prediction.encode()) < self._kept_hashes:
            self._awaited[prediction] = made
            if len(self._awaited) > MAX_AWAITED:
                self._thin_out()

    def _thin_out(self) -> None:
        self._kept_hashes //= 2
        self._awaited = {
            prediction: made
            for prediction, made in self._awaited.items()
            if crc32(prediction.encode()) < self._kept_hashes
        }

    def _score(self, made: _Awaited, outcome: int) -> None:
        match self.spec.loss:
            case Measure.BRIER:
                loss = (made.score - outcome * _SCALE) ** 2 // _SCALE
            case Measure.WRONG_SHARE:
                loss = _SCALE * (made.label != outcome)
            case _:
                chance = (made.score if outcome else _SCALE - made.score) / _SCALE
                loss = round(-log(max(chance, PROBABILITY_FLOOR)) * _SCALE)
        for tally in made.tallies:
            tally.losses.add(made.moment_us, loss)


def _remember(kept: OrderedDict[str, T], key: str, value: T) -> None:
    """Keep `value`, and forget the oldest where there are too many."""
    kept[key] = value
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
