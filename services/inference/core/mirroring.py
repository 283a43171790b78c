"""Runs copies of requests on a version that answers nobody, off the path of the answers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.inference.core.decisions import Decider
from services.inference.core.errors import QueueDeadlineExceeded, QueueFull
from services.inference.core.observing import Observer
from services.inference.core.ports import (
    SHADOW_SUFFIX,
    LoadedModel,
    Observation,
    ObservationLog,
    Store,
)
from services.inference.core.routing import WHOLE_BP
from services.inference.core.rows import Rows, RowSource
from services.inference.core.shadows import SCORE_BINS, Tally, latency_bin
from services.inference.core.signature import PROBABILITIES, Signature
from services.inference.core.use_cases.shadows import add_tally

log = structlog.get_logger()

FLUSH_S: Final = 1.0
"""Seconds between writes of what was counted; a kill of the process loses as much."""

_WORKERS: Final = 8
_LATENCIES: Final = len(Tally().champion_latencies)


class Mirrored(StrEnum):
    """What became of a copy, for metrics."""

    COMPARED = "compared"
    FAILED = "failed"
    DROPPED = "dropped"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ServedShadow:
    """A loaded version that gets copies of an endpoint's requests.

    Attributes:
        endpoint: Resource name.
        version: Resource name.
        report: Resource name of the report that the comparison goes to.
        logs_observations: Whether its answers are kept, marked.
        observer: What may be told of its rows; None: everything.
    """

    endpoint: str
    version: str
    report: str
    sample_bp: int
    signature: Signature
    model: LoadedModel
    policy: Decider
    logs_observations: bool
    observer: Observer | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """A request that was answered, and the champion's answer.

    Attributes:
        scores: float32 [rows].
        took_s: From the routed request to the champion's answer.
    """

    prediction_id: str
    event_time_us: int
    tensors: RowSource
    scores: NDArray[np.float32]
    took_s: float


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """How much may be mirrored before copies are thrown away.

    Attributes:
        max_waiting_rows: Rows of copies that wait, of all endpoints.
        deadline_s: From the champion's answer until a copy is not worth running.
        max_rows: Of one request.
    """

    max_waiting_rows: int = 1_024
    deadline_s: float = 1.0
    max_rows: int = 4_096


class Mirror:
    """A bounded queue of copies, and what came of them.

    Args:
        observations: Gets the candidates' answers, marked.
        draw: Uniform in [0, 1).
        limits: Of the queue.
        count: Told what became of each copy.
    """

    def __init__(
        self,
        observations: ObservationLog,
        draw: Callable[[], float],
        limits: MirrorLimits,
        count: Callable[[Mirrored], None],
    ) -> None:
        self._observations = observations
        self._draw = draw
        self._limits = limits
        self._count = count
        self._waiting: deque[tuple[ServedShadow, Copy, float]] = deque()
        self._waiting_rows = 0
        self._filled = asyncio.Event()
        self._tallies: dict[str, Tally] = {}

    def offer(self, shadow: ServedShadow, copy: Copy) -> None:
        """Take a copy into the sample, unless too much waits already. Never blocks or raises."""
        if self._draw() * WHOLE_BP >= shadow.sample_bp:
            return
        rows = len(copy.scores)
        if self._waiting_rows + rows > self._limits.max_waiting_rows:
            self._add(shadow, Mirrored.DROPPED, Tally(dropped=1))
            return
        self._waiting_rows += rows
        self._waiting.append((shadow, copy, time.monotonic() + self._limits.deadline_s))
        self._filled.set()

    async def run(self) -> None:
        """Run what waits until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(_WORKERS):
                workers.create_task(self._work())

    def take_tallies(self) -> dict[str, Tally]:
        """What was counted since this was last asked, by report."""
        taken, self._tallies = self._tallies, {}
        return taken

    def put_back(self, report: str, tally: Tally) -> None:
        """Count again what could not be kept."""
        self._tallies[report] = self._tallies.get(report, Tally()) + tally

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            shadow, copy, deadline = self._waiting.popleft()
            self._waiting_rows -= len(copy.scores)
            try:
                outcome, tally = await self._compared(shadow, copy, deadline)
            except Exception:  # a copy's bug must not end the mirror, nor anybody's answer
                log.exception("mirror.failed", endpoint=shadow.endpoint, version=shadow.version)
                outcome, tally = Mirrored.FAILED, Tally(failed=1)
            self._add(shadow, outcome, tally)
            # Callers who wait come before the next copy.
            await asyncio.sleep(0)

    async def _compared(
        self, shadow: ServedShadow, copy: Copy, deadline: float
    ) -> tuple[Mirrored, Tally]:
        if time.monotonic() >= deadline:
            return Mirrored.EXPIRED, Tally(expired=1)
        started_s = time.perf_counter()
        try:
            rows = copy.tensors.rows(shadow.signature, max_rows=self._limits.max_rows)
            outputs = await shadow.model.infer(rows, deadline)
        except QueueFull:
            return Mirrored.DROPPED, Tally(dropped=1)
        except QueueDeadlineExceeded:
            return Mirrored.EXPIRED, Tally(expired=1)
        except ServiceError as error:
            log.debug("mirror.refused", version=shadow.version, reason=error.reason)
            return Mirrored.FAILED, Tally(failed=1)
        took_s = time.perf_counter() - started_s
        scores = outputs[PROBABILITIES][:, 1]
        self._observe(shadow, copy, rows, scores)
        labels = shadow.policy.labels(scores)
        agrees = bool(np.array_equal(labels, shadow.policy.labels(copy.scores)))
        return Mirrored.COMPARED, _tally(copy, scores, agrees, took_s)

    def _observe(
        self, shadow: ServedShadow, copy: Copy, rows: Rows, scores: NDArray[np.float32]
    ) -> None:
        signature, observer = shadow.signature, shadow.observer
        if not shadow.logs_observations:
            return
        if observer is not None:
            if not observer.samples(copy.prediction_id):
                return
            signature, rows = observer.signature, observer.seen(rows)
        self._observations.append(
            Observation(
                copy.prediction_id,
                copy.event_time_us,
                f"{shadow.endpoint}{SHADOW_SUFFIX}",
                shadow.version,
                signature,
                rows,
                scores,
                shadow.policy.labels(scores),
                shadow.policy.name,
            )
        )

    def _add(self, shadow: ServedShadow, outcome: Mirrored, tally: Tally) -> None:
        self.put_back(shadow.report, tally)
        self._count(outcome)


class ShadowRecorder:
    """Keeps what a mirror counts.

    Args:
        store: The rows.
        mirror: Of this process.
        now: The clock.
    """

    def __init__(self, store: Store, mirror: Mirror, now: Clock) -> None:
        self._store = store
        self._mirror = mirror
        self._now = now

    async def run(self) -> None:
        """Write until cancelled; while the database is away, it is counted further."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted since the last time."""
        for report, tally in self._mirror.take_tallies().items():
            try:
                await self._store.write(
                    lambda tx, report=report, tally=tally: add_tally(  # type: ignore[misc]
                        tx, report, tally, self._now()
                    )
                )
            except ServiceError as error:
                self._mirror.put_back(report, tally)
                log.warning("shadow.not_kept", report=report, reason=error.reason)


def _tally(copy: Copy, scores: NDArray[np.float32], agrees: bool, took_s: float) -> Tally:
    shifts = scores.astype(np.float64) - copy.scores
    shift = float(shifts.mean())
    return Tally(
        compared=1,
        agreed=int(agrees),
        rows=len(scores),
        shift_sum=shift,
        shift_squares=shift * shift,
        distance_sum=float(np.abs(shifts).mean()),
        champion_scores=_score_counts(copy.scores),
        candidate_scores=_score_counts(scores),
        champion_latencies=_one_latency(copy.took_s),
        candidate_latencies=_one_latency(took_s),
    )


def _score_counts(scores: NDArray[np.float32]) -> tuple[int, ...]:
    places = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    return tuple(np.bincount(places, minlength=SCORE_BINS).tolist())


def _one_latency(seconds: float) -> tuple[int, ...]:
    counts = [0] * _LATENCIES
    counts[latency_bin(seconds)] = 1
    return tuple(counts)
