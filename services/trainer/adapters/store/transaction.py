"""The port `TrainerTx` over a database connection."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select

from services.common.resources import Collection
from services.common.store import leases
from services.common.store.bulk import BulkInsert
from services.common.store.documents import SqlCollection
from services.common.store.leases import Lease, LeaseLost
from services.common.store.outbox import Outbox
from services.common.store.tables import LEASE
from services.trainer.adapters.store import queue_usage, rows
from services.trainer.adapters.store.tables import (
    ATTEMPT,
    CHARGE,
    CHECKPOINT,
    CLEANUP,
    FREEZES,
    JOB,
    JOB_LABEL,
    LOG_LINE,
    OWNER_BUDGET,
    POINT,
    QUEUES,
    TRIAL,
)
from services.trainer.core.freezes import Freeze
from services.trainer.core.jobs import (
    Attempt,
    MetricPoint,
    StoredCheckpoint,
    TrainingJob,
    Trial,
)
from services.trainer.core.money import Charge
from services.trainer.core.queues import Queue, Usage
from services.trainer.core.states import TERMINAL, JobState

OUTBOX = Outbox("trainer")


_POINTS_OF: Final = and_(
    POINT.c.job_uid == bindparam("of_job"),
    POINT.c.trial == bindparam("of_trial"),
    POINT.c.series == bindparam("of_series"),
)
_POINT_WITHIN: Final = (
    select(POINT.c.id)
    .where(_POINTS_OF, POINT.c.step.between(bindparam("first"), bindparam("last")))
    .limit(1)
)
_REMOVE_POINTS: Final = POINT.delete().where(
    _POINTS_OF, POINT.c.step.in_(bindparam("steps", expanding=True))
)
_ADD_POINTS: Final = BulkInsert(POINT, rows.POINT_COLUMNS)


class SqlTrainerTx:
    """One transaction.

    Args:
        connection: Of a `Database` transaction.
        now: Its moment.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._freezes = SqlCollection(connection, FREEZES)
        self.freezes: Collection[Freeze] = self._freezes
        self._queues = SqlCollection(connection, QUEUES)
        self.queues: Collection[Queue] = self._queues

    @property
    def now(self) -> datetime:
        """The moment of the transaction, UTC."""
        return self._now

    def new_uid(self) -> str:
        """A random UUID."""
        return str(uuid.uuid4())

    def job(self, name: str) -> TrainingJob | None:
        """The job of that name."""
        row = self._connection.execute(select(JOB).where(JOB.c.name == name)).one_or_none()
        return None if row is None else self.jobs_of([row])[0]

    def unfinished_jobs(self) -> Sequence[TrainingJob]:
        """Every job that is not over, oldest first."""
        over = [state.value for state in TERMINAL]
        query = select(JOB).where(JOB.c.state.not_in(over)).order_by(JOB.c.create_time, JOB.c.name)
        return self.jobs_of(self._connection.execute(query).all())

    def jobs_of(self, found: Sequence[Row[Any]]) -> list[TrainingJob]:
        """The jobs in rows of the job table, with their attempts."""
        query = (
            select(ATTEMPT)
            .where(ATTEMPT.c.job_uid.in_([row.uid for row in found]))
            .order_by(ATTEMPT.c.number)
        )
        attempts: dict[str, list[Row[Any]]] = {row.uid: [] for row in found}
        for attempt in self._connection.execute(query):
            attempts[attempt.job_uid].append(attempt)
        return [rows.job_of(row, attempts[row.uid]) for row in found]

    def add_job(self, job: TrainingJob, trials: Sequence[Trial]) -> None:
        """Store a new job with its trials."""
        self._connection.execute(JOB.insert().values(rows.job_values(job)))
        if job.labels:
            self._connection.execute(JOB_LABEL.insert(), rows.job_label_values(job))
        self.add_trials(job.uid, trials)

    def replace_job(self, job: TrainingJob) -> None:
        """Store the next revision of a job, with its attempts."""
        values = rows.job_values(job)
        self._connection.execute(JOB.update().where(JOB.c.name == job.name).values(values))
        self._connection.execute(ATTEMPT.delete().where(ATTEMPT.c.job_uid == job.uid))
        if job.attempts:
            self._connection.execute(
                ATTEMPT.insert(), [rows.attempt_values(job.uid, each) for each in job.attempts]
            )

    def remove_job(self, name: str) -> None:
        """Remove a job with its attempts, trials, points and log; its checkpoints stay."""
        uid = self._connection.execute(select(JOB.c.uid).where(JOB.c.name == name)).scalar_one()
        for table in (ATTEMPT, TRIAL, POINT, LOG_LINE):
            self._connection.execute(table.delete().where(table.c.job_uid == uid))
        self._connection.execute(JOB_LABEL.delete().where(JOB_LABEL.c.name == name))
        self._connection.execute(JOB.delete().where(JOB.c.name == name))

    def trials(self, job_uid: str) -> tuple[Trial, ...]:
        """A job's trials in their order."""
        query = select(TRIAL).where(TRIAL.c.job_uid == job_uid).order_by(TRIAL.c.position)
        return tuple(rows.trial_of(row) for row in self._connection.execute(query))

    def trial(self, job_uid: str, trial_id: str) -> Trial | None:
        """The trial of that id, if the job has it."""
        query = select(TRIAL).where(TRIAL.c.job_uid == job_uid, TRIAL.c.id == trial_id)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else rows.trial_of(row)

    def add_trials(self, job_uid: str, trials: Sequence[Trial]) -> None:
        """Store new trials of a job."""
        if trials:
            self._connection.execute(
                TRIAL.insert(), [rows.trial_values(job_uid, trial) for trial in trials]
            )

    def replace_trial(self, job_uid: str, trial: Trial) -> None:
        """Store how a trial stands."""
        self._connection.execute(
            TRIAL.update()
            .where(TRIAL.c.job_uid == job_uid, TRIAL.c.position == trial.index)
            .values(rows.trial_values(job_uid, trial))
        )

    def put_points(self, job_uid: str, points: Sequence[MetricPoint]) -> None:
        """Store points, each in place of an earlier one of its trial, series and step."""
        newest = {(point.trial, point.series, point.step): point for point in points}
        steps: dict[tuple[str, str], list[int]] = {}
        for trial, series, step in newest:
            steps.setdefault((trial, series), []).append(step)
        # Statements for each series, not for each point, which took nine tenths of a report's
        # time; and most reports go on where the one before has ended, and replace nothing.
        for (trial, series), told in steps.items():
            of = {"of_job": job_uid, "of_trial": trial, "of_series": series}
            within = {**of, "first": min(told), "last": max(told)}
            if self._connection.execute(_POINT_WITHIN, within).first() is not None:
                self._connection.execute(_REMOVE_POINTS, {**of, "steps": told})
        if newest:
            _ADD_POINTS.run(
                self._connection, [rows.point_values(job_uid, point) for point in newest.values()]
            )

    def append_log(self, job_uid: str, attempt: int, lines: Sequence[str]) -> None:
        """Append lines to a job's log."""
        if not lines:
            return
        last = self._connection.execute(
            select(func.coalesce(func.max(LOG_LINE.c.number), 0)).where(
                LOG_LINE.c.job_uid == job_uid
            )
        ).scalar_one()
        values = [
            {"job_uid": job_uid, "number": number, "time": self._now, "attempt": attempt, "text": t}
            for number, t in enumerate(lines, last + 1)
        ]
        self._connection.execute(LOG_LINE.insert(), values)

    def set_reported(self, job_uid: str, attempt: int, sequence: int) -> None:
        """Note the newest report of an attempt that is stored."""
        self._connection.execute(
            ATTEMPT.update()
            .where(ATTEMPT.c.job_uid == job_uid, ATTEMPT.c.number == attempt)
            .values(reported=sequence)
        )

    def set_metered(self, job_uid: str, attempt: Attempt) -> None:
        """Note what an attempt is charged and granted; the job's revision stays."""
        self._connection.execute(
            ATTEMPT.update()
            .where(ATTEMPT.c.job_uid == job_uid, ATTEMPT.c.number == attempt.number)
            .values(charged_s=attempt.charged_s, granted_s=attempt.granted_s)
        )

    def put_charges(self, charges: Sequence[Charge]) -> None:
        """Store entries, each in place of an earlier one of its attempt and tick."""
        for charge in charges:
            self._connection.execute(
                CHARGE.delete().where(
                    CHARGE.c.job_uid == charge.job_uid,
                    CHARGE.c.attempt == charge.attempt,
                    CHARGE.c.tick == charge.tick,
                )
            )
        if charges:
            self._connection.execute(CHARGE.insert(), [rows.charge_values(x) for x in charges])

    def spent(self, project: str, owner: str, month: str) -> int:
        """Millionths that an owner's jobs were charged for a month, deleted ones included."""
        query = select(func.coalesce(func.sum(CHARGE.c.amount_micros), 0)).where(
            CHARGE.c.project == project, CHARGE.c.owner == owner, CHARGE.c.month == month
        )
        return int(self._connection.execute(query).scalar_one())

    def owner_budget(self, project: str, owner: str) -> int | None:
        """Millionths that an owner's jobs may cost in a month; None means no limit."""
        query = select(OWNER_BUDGET.c.monthly_micros).where(
            OWNER_BUDGET.c.project == project, OWNER_BUDGET.c.owner == owner
        )
        return self._connection.execute(query).scalar_one_or_none()

    def set_owner_budget(self, project: str, owner: str, micros: int | None) -> None:
        """Store, or with None take away, what an owner's jobs may cost in a month."""
        self._connection.execute(
            OWNER_BUDGET.delete().where(
                OWNER_BUDGET.c.project == project, OWNER_BUDGET.c.owner == owner
            )
        )
        if micros is not None:
            self._connection.execute(
                OWNER_BUDGET.insert().values(
                    project=project, owner=owner, monthly_micros=micros, update_time=self._now
                )
            )

    def freezes_in_force(self) -> Sequence[Freeze]:
        """Those that have not expired, of all projects, oldest first."""
        known = self._freezes.where(select(FREEZES.table))
        return [freeze for freeze in known if not freeze.is_over(self._now)]

    def all_queues(self) -> Sequence[Queue]:
        """Those that are stored, of all projects, oldest first."""
        return self._queues.where(select(QUEUES.table))

    def usage(self, queue: str, owner: str) -> Usage:
        """What an owner's jobs in a queue have taken."""
        return queue_usage.of(self._connection, queue, owner) or Usage(0.0, self._now)

    def usages(self) -> Mapping[tuple[str, str], Usage]:
        """What was taken, by queue and owner."""
        return queue_usage.all_of(self._connection)

    def put_usage(self, queue: str, owner: str, usage: Usage) -> None:
        """Store what an owner's jobs in a queue have taken."""
        queue_usage.put(self._connection, queue, owner, usage)

    def forget_usage(self, queue: str) -> None:
        """Remove what jobs in a queue have taken."""
        queue_usage.forget(self._connection, queue)

    def durations_of(self, model: str, limit: int) -> Sequence[int]:
        """Seconds charged for each of a model's newest jobs that succeeded."""
        newest = (
            select(JOB.c.uid)
            .where(JOB.c.model == model, JOB.c.state == JobState.SUCCEEDED.value)
            .order_by(JOB.c.update_time.desc())
            .limit(limit)
        )
        query = (
            select(func.sum(ATTEMPT.c.charged_s))
            .where(ATTEMPT.c.job_uid.in_(newest))
            .group_by(ATTEMPT.c.job_uid)
        )
        return [int(seconds) for seconds in self._connection.execute(query).scalars() if seconds]

    def remove_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        """Forget a checkpoint; its bytes stay."""
        self._connection.execute(
            CHECKPOINT.delete().where(
                CHECKPOINT.c.job_uid == job_uid,
                CHECKPOINT.c.trial == checkpoint.trial,
                CHECKPOINT.c.step == checkpoint.step,
            )
        )

    def add_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint, in place of one of the same trial and step."""
        self.remove_checkpoint(job_uid, checkpoint)
        self._connection.execute(
            CHECKPOINT.insert().values(rows.checkpoint_values(job_uid, checkpoint))
        )

    def checkpoints(self, job_uid: str) -> tuple[StoredCheckpoint, ...]:
        """A job's checkpoints, newest first."""
        query = (
            select(CHECKPOINT)
            .where(CHECKPOINT.c.job_uid == job_uid)
            .order_by(CHECKPOINT.c.create_time.desc(), CHECKPOINT.c.step.desc())
        )
        return tuple(rows.checkpoint_of(row) for row in self._connection.execute(query))

    def add_cleanup(self, job: TrainingJob) -> None:
        """Note that what a job has left outside of its rows is to be cleared away."""
        self._connection.execute(
            CLEANUP.insert().values(
                job_uid=job.uid,
                job=job.name,
                model=job.spec.model,
                succeeded=job.state is JobState.SUCCEEDED,
                create_time=self._now,
            )
        )

    def cleanups(self, rest: timedelta) -> list[rows.Cleanup]:
        """What is to be cleared away, once it has rested so long that no worker is left."""
        query = select(CLEANUP).where(
            or_(CLEANUP.c.succeeded, CLEANUP.c.create_time <= self._now - rest)
        )
        return [rows.cleanup_of(row) for row in self._connection.execute(query)]

    def end_cleanup(self, job_uid: str) -> None:
        """Forget a job's checkpoints and that there was something to clear away."""
        for table in (CHECKPOINT, CLEANUP):
            self._connection.execute(table.delete().where(table.c.job_uid == job_uid))

    def claim_lease(self, job_uid: str, worker: str, ttl: timedelta) -> int | None:
        """The fence of a fresh lease on a job, or None while another worker holds it."""
        lease = leases.claim(self._connection, _lease_name(job_uid), worker, ttl, self._now)
        return None if lease is None else lease.fence

    def prolong_lease(self, job_uid: str, worker: str, fence: int, ttl: timedelta) -> bool:
        """Keep the lease for another `ttl`; False if it is another's, or was released."""
        lease = Lease(_lease_name(job_uid), worker, fence, self._now)
        try:
            leases.heartbeat(self._connection, lease, ttl, self._now)
        except LeaseLost:
            return False
        return True

    def holds_lease(self, job_uid: str, worker: str, fence: int) -> bool:
        """Whether nobody has claimed the lease since, and it was not released."""
        lease = Lease(_lease_name(job_uid), worker, fence, self._now)
        try:
            leases.guard(self._connection, lease)
        except LeaseLost:
            return False
        return True

    def release_lease(self, job_uid: str, worker: str, fence: int) -> None:
        """Let others claim at once."""
        leases.release(self._connection, Lease(_lease_name(job_uid), worker, fence, self._now))

    def lease_expired(self, job_uid: str) -> bool:
        """Whether a job's lease has run out or was released."""
        query = select(LEASE.c.holder, LEASE.c.expire_time).where(
            LEASE.c.name == _lease_name(job_uid)
        )
        row = self._connection.execute(query).one_or_none()
        return row is None or not row.holder or row.expire_time <= self._now

    def tell(self, kind: str, subject: str, data: Mapping[str, Any]) -> str:
        """Write an event into the outbox; gives its id."""
        return OUTBOX.append(self._connection, kind, subject, self._now, data)


def _lease_name(job_uid: str) -> str:
    return f"job/{job_uid}"
