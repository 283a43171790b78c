"""Performs drills: watches an endpoint's answers, rolls it back, and brings it forward again."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.resources import Meta
from services.inference.core.drills import AnswerWatch, DrillState, RollbackDrill
from services.inference.core.ports import InferenceTx, Store
from services.inference.core.serving import Predictor
from services.inference.core.use_cases import drills as cases

log = structlog.get_logger()

GRACE: Final = timedelta(seconds=15)
"""After a drill's time, until it is taken for interrupted."""


class Driller:
    """Performs one drill after its record is stored.

    Args:
        store: The rows.
        predictor: Whose answers are watched: those of this process.
        refresh: Serves what the rows say.
        now: The clock.
    """

    def __init__(
        self, store: Store, predictor: Predictor, refresh: Callable[[], Awaitable[None]], now: Clock
    ) -> None:
        self._store = store
        self._predictor = predictor
        self._refresh = refresh
        self._now = now

    async def perform(self, drill: RollbackDrill, window_s: float) -> None:
        """Watch, roll back, watch, and bring the champion back; never raises.

        What can't be done now is left to the controller, which ends drills that are overdue.
        """
        watch = AnswerWatch(drill.endpoint, time.monotonic)
        self._predictor.watch(watch)
        try:
            await self._perform(drill, window_s, watch)
        except ServiceError as error:
            log.warning("drill.not_performed", drill=drill.meta.name, reason=error.reason)
        finally:
            self._predictor.unwatch(watch)

    async def _perform(self, drill: RollbackDrill, window_s: float, watch: AnswerWatch) -> None:
        name = drill.meta.name
        await asyncio.sleep(window_s)
        if not watch.answers:
            message = f"no request came in {window_s:g} s, so there is nothing to measure"
            await self._end(name, DrillState.FAILED, message, watch=None)
            return
        watch.command()
        rollout = self._meta(name, "back")
        await self._store.write(lambda tx: cases.switch(tx, name, rollout))
        await self._refresh()
        await asyncio.sleep(window_s)
        await self._end(name, DrillState.SUCCEEDED, "", watch=watch)

    async def _end(
        self, name: str, state: DrillState, message: str, watch: AnswerWatch | None
    ) -> None:
        rollout = self._meta(name, "forth")

        def work(tx: InferenceTx) -> None:
            champion = cases.get_drill(tx, name).champion
            measures = None if watch is None else watch.measures(champion)
            cases.end(tx, name, rollout, state, message, measures)

        await self._store.write(work)
        await self._refresh()

    def _meta(self, drill: str, which: str) -> Meta:
        return rollout_meta(drill, which, self._now())


async def end_overdue(store: Store, now: datetime) -> None:
    """End drills whose process is gone; their champions serve again."""
    for drill in await store.read(lambda tx: tx.running_drills()):
        if now >= drill.deadline:
            name = drill.meta.name
            meta = rollout_meta(name, "forth", now)
            await store.write(
                lambda tx, name=name, meta=meta: cases.end(  # type: ignore[misc]
                    tx, name, meta, DrillState.FAILED, "it was interrupted", None
                )
            )


def rollout_meta(drill: str, which: str, now: datetime) -> Meta:
    """Identity of one of a drill's two rollouts."""
    endpoint, _, drill_id = drill.partition("/drills/")
    name = f"{endpoint}/rollouts/drill-{drill_id}-{which}"
    return Meta(name, str(uuid.uuid5(uuid.NAMESPACE_URL, name + now.isoformat())), 1, now, now)
