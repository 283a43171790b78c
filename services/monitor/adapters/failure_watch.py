"""Hears of what becomes of training jobs, and keeps the alerts about their failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

import grpc
import structlog
from roundhouse.common.v1 import events_pb2 as events_pb
from roundhouse.common.v1 import events_pb2_grpc as events_grpc
from sqlalchemy import Connection

from services.common.causality import caused_by
from services.common.clock import Clock
from services.common.rpc.remote import remote_errors
from services.common.store import leases
from services.common.store.cursors import cursor_of, set_cursor
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.adapters.failed_jobs import FailedJobs, JobNews
from services.monitor.adapters.listening import keep_listening
from services.monitor.core.alerts.failures import Findings, JobFailure
from services.monitor.core.ports import MonitorTx
from services.monitor.core.use_cases import failures

log = structlog.get_logger()

T = TypeVar("T")

LOOK_S: Final = 2.0
"""How soon a failure is known."""

_READER: Final = "trainer-jobs"
_PEER: Final = "trainer"
_TIMEOUT_S: Final = 60.0
_FORGETS_EVERY: Final = timedelta(hours=1)
_ENDS: Final = ("queued", "paused", "budget_exceeded", "failed", "succeeded", "cancelled")
_TYPES: Final = tuple(
    f"roundhouse.trainer.job.{state}" for state in (*_ENDS, "preparing", "deleted")
)
"""Of each event that comes with the end of an attempt, or with what ends an alert."""

_NOTHING: Final = ("none",)
"""What failed before the first look is no news."""


class FailureWatch:
    """Reads the trainer's events from where it stopped; one process at a time.

    An event says where to look, and the job tells what happened. What was noted is named after the
    attempt, so that after a crash nothing is missing and nothing is noted twice.

    Args:
        database: The monitor's, with the place it has come to.
        trainer: Channel to it.
        now: The clock.
    """

    def __init__(self, database: Database, trainer: grpc.aio.Channel, now: Clock) -> None:
        self._database = database
        self._events = events_grpc.EventServiceStub(trainer)
        self._jobs = FailedJobs(trainer)
        self._now = now
        self._forgets_at = now()

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        await keep_listening(lambda: self.look(lease), LOOK_S, peer=_PEER)

    async def look(self, lease: Lease) -> None:
        """Note what has happened by now, once.

        Raises:
            LeaseLost: Another process goes on.
            RemoteError: The trainer can't tell at present; what it told is noted.
        """
        try:
            await self._catch_up(lease)
            await self._look_at_stalled(lease)
        finally:
            await self._settle(lease)

    async def _catch_up(self, lease: Lease) -> None:
        """Go on to the newest event; the first look only finds out which that is."""
        cursor = await self._database.read(lambda connection: cursor_of(connection, _READER))
        wanted = _TYPES if cursor else _NOTHING
        request = events_pb.WatchEventsRequest(cursor=cursor, type_prefixes=wanted)
        with remote_errors(_PEER):
            async for told in self._events.WatchEvents(request, timeout=_TIMEOUT_S):
                if told.HasField("bookmark"):
                    if told.bookmark != cursor:
                        await self._write(lease, lambda _: None, told.bookmark)
                else:
                    await self._hear(lease, told.event)

    async def _hear(self, lease: Lease, event: events_pb.Event) -> None:
        if event.type.endswith(".deleted"):
            gone = "The job was deleted."
            await self._write(
                lease,
                lambda tx: failures.note_end(tx, event.subject, event.subject, gone),
                event.cursor,
            )
            return
        news = await self._jobs.news(event)
        if news is None:
            return
        findings = {failure.name: await self._findings(failure) for failure in news.failures}
        with caused_by(event.correlation_id, event.id):
            await self._write(lease, lambda tx: _note(tx, news, findings), event.cursor)

    async def _findings(self, failure: JobFailure) -> Findings:
        def wanted(tx: MonitorTx) -> bool:
            return failures.is_news(tx, failure) and failures.calls_somebody(tx, failure)

        return await self._jobs.findings(failure) if await self._read(wanted) else Findings()

    async def _look_at_stalled(self, lease: Lease) -> None:
        for failure in await self._read(failures.stalled_jobs):
            if await self._jobs.has_gone_on(failure):
                continue
            found = await self._jobs.findings(failure)
            await self._write(lease, partial(failures.note_stall, failure=failure, findings=found))

    async def _settle(self, lease: Lease) -> None:
        if await self._read(failures.needs_settling):
            await self._write(lease, failures.settle_recovered)
        if self._now() >= self._forgets_at:
            await self._write(lease, failures.forget_old)
            self._forgets_at = self._now() + _FORGETS_EVERY

    async def _read(self, work: Callable[[MonitorTx], T]) -> T:
        return await self._database.read(
            lambda connection: work(SqlMonitorTx(connection, self._now()))
        )

    async def _write(
        self, lease: Lease, work: Callable[[MonitorTx], None], cursor: str = ""
    ) -> None:
        def write(connection: Connection) -> None:
            leases.guard(connection, lease)
            work(SqlMonitorTx(connection, self._now()))
            if cursor:
                set_cursor(connection, _READER, cursor, self._now())

        await self._database.write(write)


def _note(tx: MonitorTx, news: JobNews, findings: Mapping[str, Findings]) -> None:
    for failure in news.failures:
        failures.note_failure(tx, failure, findings[failure.name])
    if news.is_over:
        failures.note_end(tx, news.job, news.line, news.recovery)
    elif news.goes_on:
        failures.go_on(tx, news.line, "BUDGET_EXCEEDED", "The job goes on.")
