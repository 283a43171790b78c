"""Lists, series and logs, in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from services.common.resources import Page, PageQuery
from services.common.store.documents import SqlCollection
from services.common.store.labels import LabelIndex
from services.common.store.listing import Listing, ListQuery
from services.common.store.name_pages import page_by_name
from services.trainer.adapters.store import ledger, rows
from services.trainer.adapters.store.tables import (
    CHECKPOINT,
    FREEZES,
    JOB,
    JOB_LABEL,
    LOG_LINE,
    POINT,
    TRIAL,
)
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.core.costs import CostQuery, CostReport, OwnerBudget
from services.trainer.core.freezes import Freeze, holding
from services.trainer.core.jobs import (
    LogLine,
    MetricPoint,
    StoredCheckpoint,
    TrainingJob,
    Trial,
    share_done,
)
from services.trainer.core.money import month_of
from services.trainer.core.queues import Queue, default_queue

JOBS: Final = Listing(
    fields={
        "name": JOB.c.name,
        "state": JOB.c.state,
        "create_time": JOB.c.create_time,
        "update_time": JOB.c.update_time,
        "labels": JOB.c.labels,
        "queue": JOB.c.queue,
        "reproduces": JOB.c.reproduces,
    },
    key=JOB.c.name,
    default_order="create_time desc",
    orderable=("name", "state", "create_time", "update_time"),
    label_index=LabelIndex(JOB_LABEL, JOB.c.name),
)

TRIALS: Final = Listing(
    fields={"position": TRIAL.c.position},
    key=TRIAL.c.position,
    default_order="position",
    orderable=("position",),
)

POINTS: Final = Listing(
    fields={
        "trial": POINT.c.trial,
        "series": POINT.c.series,
        "step": POINT.c.step,
        "id": POINT.c.id,
    },
    key=POINT.c.id,
    default_order="trial,series,step",
    orderable=("trial", "series", "step"),
)

# A step is of one checkpoint of a trial, by which they are ordered first.
CHECKPOINTS: Final = Listing(
    fields={"trial": CHECKPOINT.c.trial},
    key=CHECKPOINT.c.step,
    default_order="trial",
    orderable=("trial",),
)

_FREEZES: Final = FREEZES.listing(filterable=(), orderable=("name",))


class SqlTrainerReads:
    """The port `TrainerReads` over a read transaction.

    Args:
        connection: Of a `Database` transaction.
        now: Its moment.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._tx = SqlTrainerTx(connection, now)

    def jobs(self, query: PageQuery) -> Page[TrainingJob]:
        """Of a project, newest first."""
        found = select(JOB).where(JOB.c.project == query.parent)
        page = JOBS.page(self._connection, found, _list_query(query), scope=query.parent)
        return Page(tuple(self._tx.jobs_of(page.rows)), page.next_page_token)

    def trials(self, query: PageQuery, job_uid: str) -> Page[Trial]:
        """Of a job, in their order."""
        found = select(TRIAL).where(TRIAL.c.job_uid == job_uid)
        page = TRIALS.page(self._connection, found, _list_query(query), scope=job_uid)
        return Page(tuple(rows.trial_of(row) for row in page.rows), page.next_page_token)

    def checkpoints(self, query: PageQuery, job_uid: str) -> Page[StoredCheckpoint]:
        """Of a job, by trial and step."""
        found = select(CHECKPOINT).where(CHECKPOINT.c.job_uid == job_uid)
        page = CHECKPOINTS.page(self._connection, found, _list_query(query), scope=job_uid)
        return Page(tuple(rows.checkpoint_of(row) for row in page.rows), page.next_page_token)

    def points(self, query: PageQuery, job_uid: str, series: str) -> Page[MetricPoint]:
        """Of a job, by trial, series and step; an empty series means all."""
        found = select(POINT).where(POINT.c.job_uid == job_uid)
        if series:
            found = found.where(POINT.c.series == series)
        scope = f"{job_uid}/{series}"
        page = POINTS.page(self._connection, found, _list_query(query), scope=scope)
        return Page(tuple(rows.point_of(row) for row in page.rows), page.next_page_token)

    def points_after(
        self, job_uid: str, position: int, limit: int
    ) -> tuple[Sequence[MetricPoint], int]:
        """The next points that were stored after `position`, and the position reached."""
        query = (
            select(POINT)
            .where(POINT.c.job_uid == job_uid, POINT.c.id > position)
            .order_by(POINT.c.id)
            .limit(limit)
        )
        found = self._connection.execute(query).all()
        reached = found[-1].id if found else position
        return [rows.point_of(row) for row in found], reached

    def log_after(self, job_uid: str, number: int, limit: int) -> Sequence[LogLine]:
        """The next lines after `number`."""
        query = (
            select(LOG_LINE)
            .where(LOG_LINE.c.job_uid == job_uid, LOG_LINE.c.number > number)
            .order_by(LOG_LINE.c.number)
            .limit(limit)
        )
        return [rows.log_line_of(row) for row in self._connection.execute(query)]

    def costs(self, query: CostQuery) -> CostReport:
        """What was charged, by group, largest first."""
        return ledger.costs(self._connection, query)

    def owner_budgets(self, query: PageQuery) -> Page[OwnerBudget]:
        """A project's budgets by owner, with what this month has cost."""
        return ledger.owner_budgets(self._connection, query, month_of(self._tx.now))

    def freezes(self, query: PageQuery) -> Page[Freeze]:
        """Of a project, by name."""
        return SqlCollection(self._connection, FREEZES).page(_FREEZES, query)

    def queues(self, query: PageQuery) -> Page[Queue]:
        """Of a project, by name, the default one among them."""
        # A default queue that nobody has changed has no row, so the database can't page them.
        known = {queue.meta.name: queue for queue in self._tx.queues.under(query.parent)}
        standing = default_queue(query.parent)
        known.setdefault(standing.meta.name, standing)
        return page_by_name(known, query)

    def holding(self, jobs: Sequence[TrainingJob]) -> Mapping[str, str]:
        """The freeze that holds each job that is held, by the job's name."""
        freezes = self._tx.freezes_in_force()
        found = {job.name: holding(freezes, job) for job in jobs}
        return {job: freeze.meta.name for job, freeze in found.items() if freeze is not None}

    def progress_of(self, jobs: Sequence[TrainingJob]) -> Mapping[str, float]:
        """Share of each job that is done, 0 to 1, by its name."""
        query = (
            select(
                TRIAL.c.job_uid,
                func.sum(TRIAL.c.progress).label("trained"),
                func.count().label("trials"),
            )
            .where(TRIAL.c.job_uid.in_([job.uid for job in jobs]))
            .group_by(TRIAL.c.job_uid)
        )
        found = {row.job_uid: row for row in self._connection.execute(query)}
        return {job.name: share_done(job.state, _trained(job, found.get(job.uid))) for job in jobs}


def _trained(job: TrainingJob, row: Row[Any] | None) -> float:
    """Mean progress of the trials that a job does at most; one that repeats another has them."""
    if row is None:
        return 0.0
    trials: int = row.trials if job.reproduces else job.spec.expected_trials
    return float(row.trained) / trials


def _list_query(query: PageQuery) -> ListQuery:
    return ListQuery(query.page_size, query.page_token, query.filter, query.order_by)
