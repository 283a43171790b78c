"""The controller: gives every queued job a worker, and every lost one another."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.names import parent_of
from services.common.store.database import Database
from services.common.store.leases import Lease, guard
from services.trainer.adapters.engine import Engine, Worker
from services.trainer.adapters.metrics import LOST_WORKERS, supervised
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.adapters.worker.config import WorkerConfig
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.queueing import Capacity, Room, plan
from services.trainer.core.queues import Queue
from services.trainer.core.states import JobState
from services.trainer.core.use_cases import supervision

log = structlog.get_logger()

PASS_INTERVAL_S: Final = 1.0
"""Longest time between two looks at the jobs; leases and pauses run out without any event."""

STRAY_GRACE: Final = timedelta(seconds=5)
"""How long a worker may take to end by itself once its job is over or another's."""

ConfigOf: TypeAlias = Callable[[TrainingJob, str], WorkerConfig]
"""How a worker is started, from the job and the worker's name."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What one look at the jobs shows.

    Attributes:
        jobs: Every job that is not over, oldest first.
        expired: Job and worker of each attempt whose lease has run out.
        frozen: Projects of which none but critical jobs are started.
        queues: By name.
        recent: Part of the machine that each queue's owners took of late.
        now: When.
    """

    jobs: Sequence[TrainingJob]
    expired: Sequence[tuple[str, str]]
    frozen: Collection[str]
    queues: Mapping[str, Queue]
    recent: Mapping[tuple[str, str], float]
    now: datetime


@dataclass(slots=True)
class Watched:
    """A worker of this trainer.

    Attributes:
        job: That it is for.
        itself: Where it was placed.
        stray_since: When it was first seen without anything left to do.
    """

    job: str
    itself: Worker
    stray_since: datetime | None = None


class Supervisor:
    """Keeps as many workers at work as it may; crash-only: it knows nothing but the rows.

    Args:
        database: The trainer's.
        engine: Places workers.
        now: The clock.
        config_of: How a worker is started.
        room: Workers at once, and limits for all.
        lease_ttl: How long a worker may be silent.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        now: Clock,
        *,
        config_of: ConfigOf,
        room: Room,
        lease_ttl: timedelta,
    ) -> None:
        self._database = database
        self._engine = engine
        self._now = now
        self._config_of = config_of
        self._room = room
        self._lease_ttl = lease_ttl
        # What jobs, queues and freezes go through is told; what workers report of their trials is
        # not, and looking at the jobs after each report took a third of the trainer's CPU time.
        self._changed = asyncio.Event()
        database.on_event(self._changed.set)

    async def run(self, lease: Lease) -> None:
        """Supervise until cancelled; then end the workers and queue their jobs again.

        Raises:
            LeaseLost: Another trainer supervises now.
        """
        # While no trainer was there, no worker could be heard: each gets a chance to speak.
        patient_until = self._now() + self._lease_ttl
        async with asyncio.TaskGroup() as workers:
            watched: dict[str, Watched] = {}
            while True:
                self._changed.clear()
                desk = await self._database.read(self._desk)
                if desk.now >= patient_until:
                    await self._give_up(lease, desk.expired)
                await self._look(lease, desk, workers, watched)
                supervised(desk.jobs, len(watched))
                # Not wait_for: before Python 3.12 it forgets a cancellation that comes together
                # with the event, and the service never ends.
                with suppress(TimeoutError):
                    async with asyncio.timeout(PASS_INTERVAL_S):
                        await self._changed.wait()

    async def _give_up(self, lease: Lease, expired: Sequence[tuple[str, str]]) -> None:
        for job, worker in expired:
            log.warning("worker.silent", job=job, worker=worker)
            LOST_WORKERS.inc()
            await self._lose(lease, job, worker, "its lease ran out")

    async def _look(
        self,
        lease: Lease,
        desk: Desk,
        workers: asyncio.TaskGroup,
        watched: dict[str, Watched],
    ) -> None:
        wanted = {job.name: job for job in desk.jobs}
        for worker, mine in watched.items():
            if not _belongs(wanted.get(mine.job), worker):
                mine.stray_since = mine.stray_since or desk.now
                if desk.now - mine.stray_since > STRAY_GRACE:
                    mine.itself.kill()
        if not self._engine.ready:
            return
        capacity = Capacity(
            self._room.machine.jobs - len(watched),
            self._room,
            frozen=desk.frozen,
            queues=desk.queues,
            recent=desk.recent,
            starting={mine.job for mine in watched.values()},
        )
        chosen = plan(desk.jobs, capacity, desk.now)
        for job in chosen.start:
            await self._start(lease, job, workers, watched)
        for job in chosen.preempt:
            log.info("job.preempted", job=job.name)
            await self._write(lease, partial(supervision.preempt, name=job.name))

    async def _start(
        self,
        lease: Lease,
        job: TrainingJob,
        workers: asyncio.TaskGroup,
        watched: dict[str, Watched],
    ) -> None:
        worker = f"worker-{uuid.uuid4().hex[:12]}"
        itself = await self._engine.start(self._config_of(job, worker))
        log.info("worker.started", job=job.name, worker=worker, place=itself.place)
        watched[worker] = Watched(job.name, itself)
        workers.create_task(self._watch(lease, worker, watched))

    async def _watch(self, lease: Lease, worker: str, watched: dict[str, Watched]) -> None:
        job, itself = watched[worker].job, watched[worker].itself
        try:
            cause = await itself.wait()
            log.info("worker.ended", job=job, worker=worker, cause=cause)
            await self._lose(lease, job, worker, cause)
        except asyncio.CancelledError:
            itself.kill()
            await itself.wait()
            await self._write(lease, lambda tx: supervision.take_back(tx, job, worker))
            raise
        finally:
            del watched[worker]
            self._changed.set()

    async def _lose(self, lease: Lease, job: str, worker: str, cause: str) -> None:
        await self._write(lease, lambda tx: supervision.lose(tx, job, worker, cause))

    async def _write(self, lease: Lease, work: Callable[[SqlTrainerTx], None]) -> None:
        def guarded(connection: Connection) -> None:
            guard(connection, lease)
            work(SqlTrainerTx(connection, self._now()))

        await self._database.write(guarded)

    def _desk(self, connection: Connection) -> Desk:
        tx = SqlTrainerTx(connection, self._now())
        frozen = {parent_of(freeze.meta.name) for freeze in tx.freezes_in_force()}
        return Desk(
            tx.unfinished_jobs(),
            supervision.expired(tx),
            frozen,
            queues={queue.meta.name: queue for queue in tx.all_queues()},
            recent={whose: usage.recent_share(tx.now) for whose, usage in tx.usages().items()},
            now=tx.now,
        )


def _belongs(job: TrainingJob | None, worker: str) -> bool:
    """Whether a worker may still have something to do for a job that is not over."""
    if job is None:
        return False
    running = job.running_attempt
    if running is not None:
        return running.worker == worker
    return job.state is JobState.QUEUED and all(
        attempt.worker != worker for attempt in job.attempts
    )
