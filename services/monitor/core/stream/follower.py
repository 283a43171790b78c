"""Follows the log: counts each batch, and has each window judged when it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, TypeVar

import pyarrow.compute as pc
import structlog

from services.common.errors import Unavailable
from services.monitor.core.resources import Monitor
from services.monitor.core.stream.batches import Batch, ObservationBatch, of_variants
from services.monitor.core.stream.ledger import EndpointBook, Ledger
from services.monitor.core.stream.ports import (
    Baseline,
    Baselines,
    CompleteWindow,
    PredictionLog,
    WindowJudge,
)
from services.monitor.core.stream.trials import Trial, TrialSpec
from services.monitor.core.windows import from_us

T = TypeVar("T")

log = structlog.get_logger()


_Task: TypeAlias = Callable[[], Awaitable[None]]

TRIAL_IDLE_S: Final = 600.0
"""Seconds after which a comparison that nobody asked about is forgotten; should somebody ask
again, it is made again from the log."""


@dataclass(slots=True)
class _Followed:
    trial: Trial
    asked_at: float


class Follower:
    """The one reader of the log in this process.

    Everything happens in the order it was handed in, so that a restart, which hands the log
    in again, ends where the process was.

    Args:
        log: Where a monitor's past comes from.
        baselines: What versions were trained on.
        judge: Stores what windows show.
        position: Of the newest batch that was in the log before any is handed in.
    """

    def __init__(
        self, log: PredictionLog, baselines: Baselines, judge: WindowJudge, position: int
    ) -> None:
        self._log = log
        self._baselines = baselines
        self._judge = judge
        self._ledger = Ledger()
        self._ledger.position = position
        self._monitors: dict[str, str] = {}
        self._known: dict[str, Baseline] = {}
        self._trials: dict[str, _Followed] = {}
        self._tasks: asyncio.Queue[_Task] = asyncio.Queue()
        # Counting takes milliseconds, too long for the event loop.
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    def take(self, batches: Sequence[Batch]) -> None:
        """Count these batches, the next ones of the log, soon."""
        for batch in batches:
            self._tasks.put_nowait(partial(self._apply, batch))

    def follow(self, monitor: Monitor, judged_until: datetime | None) -> None:
        """Count an endpoint's predictions, those of the past first, soon."""
        self._tasks.put_nowait(partial(self._begin, monitor, judged_until))

    def unfollow(self, endpoint: str) -> None:
        """Count an endpoint's predictions no longer, soon."""
        self._tasks.put_nowait(partial(self._end, endpoint))

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: What a port raises beside Unavailable; the ledger is then no longer the
                log's, so the process has to start over.
        """
        while True:
            task = await self._tasks.get()
            try:
                await task()
            finally:
                self._tasks.task_done()

    async def settled(self) -> None:
        """Return when everything handed in so far was counted and judged."""
        await self._tasks.join()

    async def compared(self, spec: TrialSpec, ask: Callable[[Trial], T]) -> T | None:
        """What `ask` makes of a comparison as it stands; None if its endpoint is not followed.

        A comparison that is new, or that this process does not know since it was started, is
        made from the log first.
        """
        if self._known_trial(spec) is None:
            opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._tasks.put_nowait(partial(self._open_trial, spec, opened))
            await opened
        followed = self._known_trial(spec)
        return None if followed is None else await self._count(partial(ask, followed.trial))

    def close(self) -> None:
        """Wait for the counting under way."""
        self._counting.shutdown()

    async def _begin(self, monitor: Monitor, judged_until: datetime | None) -> None:
        endpoint = monitor.endpoint
        if endpoint in self._monitors:
            return
        self._monitors[endpoint] = monitor.meta.name
        book = EndpointBook(monitor.window, monitor.outcome_delay, judged_until, monitor.slices)
        position = self._ledger.position
        batches = await self._log.replay(endpoint, since=book.keeps_from(), until_position=position)
        self._ledger.open(endpoint, book)
        for batch in batches:
            await self._count_windows(batch)
        self._ledger.position = position

    async def _end(self, endpoint: str) -> None:
        self._trials.pop(endpoint, None)
        if self._monitors.pop(endpoint, None) is not None:
            await self._count(partial(self._ledger.close, endpoint))

    def _known_trial(self, spec: TrialSpec) -> _Followed | None:
        followed = self._trials.get(spec.endpoint)
        if followed is None or followed.trial.spec != spec:
            return None
        followed.asked_at = asyncio.get_running_loop().time()
        return followed

    async def _open_trial(self, spec: TrialSpec, opened: asyncio.Future[None]) -> None:
        if spec.endpoint in self._monitors and self._known_trial(spec) is None:
            batches = await self._log.replay(
                spec.endpoint,
                since=None,
                arrived_since=from_us(spec.since_us),
                until_position=self._ledger.position,
            )
            trial = Trial(spec)
            await self._count(partial(_count_all, trial, batches))
            self._trials[spec.endpoint] = _Followed(trial, asyncio.get_running_loop().time())
        if not opened.done():
            opened.set_result(None)

    async def _apply(self, batch: Batch) -> None:
        await self._count_windows(batch)
        forgotten_before = asyncio.get_running_loop().time() - TRIAL_IDLE_S
        for endpoint, followed in list(self._trials.items()):
            if followed.asked_at < forgotten_before:
                del self._trials[endpoint]
            else:
                await self._count(partial(_count_all, followed.trial, [batch]))

    async def _count_windows(self, batch: Batch) -> None:
        if not isinstance(batch, ObservationBatch):
            await self._count(partial(self._ledger.learn, batch))
            return
        for version in pc.unique(of_variants(batch.rows).column("variant")).to_pylist():
            if version not in self._known:
                self._known[version] = await _until_available(
                    partial(self._baselines.baseline, version)
                )
        profiles = {version: baseline.profile for version, baseline in self._known.items()}
        await self._count(partial(self._ledger.observe, batch, profiles))
        for endpoint in pc.unique(batch.rows.column("endpoint")).to_pylist():
            await self._judge_due(endpoint)

    async def _judge_due(self, endpoint: str) -> None:
        book = self._ledger.books.get(endpoint)
        while book is not None and (window := book.due()) is not None:
            tallies = book.windows[window]
            complete = CompleteWindow(
                monitor=self._monitors[endpoint],
                window=window,
                tallies=tallies,
                baselines={version: self._known[version] for version in tallies},
            )
            await _until_available(partial(self._judge, complete))
            await self._count(partial(self._ledger.judged, endpoint, window))

    async def _count(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._counting, work)


def _count_all(trial: Trial, batches: Sequence[Batch]) -> None:
    for batch in batches:
        if isinstance(batch, ObservationBatch):
            trial.observe(batch)
        else:
            trial.learn(batch)


async def _until_available(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives, asked again while what it depends on is away."""
    while True:
        try:
            return await ask()
        except Unavailable as error:
            log.warning("follower.waits", reason=error.reason, **error.metadata)
            await asyncio.sleep(error.retry_after_s)
