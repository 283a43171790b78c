"""What the trainer's core needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from services.common.resources import Collection, Page, PageQuery
from services.trainer.core.comparing import MadeWith
from services.trainer.core.costs import CostQuery, CostReport, OwnerBudget
from services.trainer.core.freezes import Freeze
from services.trainer.core.jobs import (
    Attempt,
    LogLine,
    MetricPoint,
    StoredCheckpoint,
    TrainingJob,
    Trial,
)
from services.trainer.core.money import Charge
from services.trainer.core.purposes import Purpose
from services.trainer.core.queues import Queue, Usage
from services.trainer.core.spec import JobSpec

T = TypeVar("T")


class TrainerTx(Protocol):
    """One transaction over the trainer's rows; what it writes is stored whole or not at all."""

    freezes: Collection[Freeze]
    queues: Collection[Queue]

    @property
    def now(self) -> datetime:
        """The moment of the transaction, UTC."""
        ...

    def new_uid(self) -> str:
        """A fresh identifier."""
        ...

    def job(self, name: str) -> TrainingJob | None:
        """The job of that name."""
        ...

    def unfinished_jobs(self) -> Sequence[TrainingJob]:
        """Every job that is not over, oldest first."""
        ...

    def add_job(self, job: TrainingJob, trials: Sequence[Trial]) -> None:
        """Store a new job with its trials."""
        ...

    def replace_job(self, job: TrainingJob) -> None:
        """Store the next revision of a job, with its attempts."""
        ...

    def remove_job(self, name: str) -> None:
        """Remove a job with its attempts, trials, points and log; its checkpoints stay."""
        ...

    def trials(self, job_uid: str) -> tuple[Trial, ...]:
        """A job's trials in their order."""
        ...

    def trial(self, job_uid: str, trial_id: str) -> Trial | None:
        """The trial of that id, if the job has it."""
        ...

    def add_trials(self, job_uid: str, trials: Sequence[Trial]) -> None:
        """Store new trials of a job."""
        ...

    def replace_trial(self, job_uid: str, trial: Trial) -> None:
        """Store how a trial stands."""
        ...

    def put_points(self, job_uid: str, points: Sequence[MetricPoint]) -> None:
        """Store points, each in place of an earlier one of its trial, series and step."""
        ...

    def append_log(self, job_uid: str, attempt: int, lines: Sequence[str]) -> None:
        """Append lines to a job's log."""
        ...

    def set_reported(self, job_uid: str, attempt: int, sequence: int) -> None:
        """Note the newest report of an attempt that is stored."""
        ...

    def add_cleanup(self, job: TrainingJob) -> None:
        """Note that what a job has left outside of its rows is to be cleared away."""
        ...

    def add_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint, in place of one of the same trial and step."""
        ...

    def remove_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        """Forget a checkpoint; its bytes stay."""
        ...

    def checkpoints(self, job_uid: str) -> tuple[StoredCheckpoint, ...]:
        """A job's checkpoints, newest first."""
        ...

    def set_metered(self, job_uid: str, attempt: Attempt) -> None:
        """Note what an attempt is charged and granted; the job's revision stays."""
        ...

    def put_charges(self, charges: Sequence[Charge]) -> None:
        """Store entries, each in place of an earlier one of its attempt and tick."""
        ...

    def spent(self, project: str, owner: str, month: str) -> int:
        """Millionths that an owner's jobs were charged for a month, deleted ones included."""
        ...

    def owner_budget(self, project: str, owner: str) -> int | None:
        """Millionths that an owner's jobs may cost in a month; None means no limit."""
        ...

    def set_owner_budget(self, project: str, owner: str, micros: int | None) -> None:
        """Store, or with None take away, what an owner's jobs may cost in a month."""
        ...

    def freezes_in_force(self) -> Sequence[Freeze]:
        """Those that have not expired, of all projects, oldest first."""
        ...

    def all_queues(self) -> Sequence[Queue]:
        """Those that are stored, of all projects, oldest first."""
        ...

    def usage(self, queue: str, owner: str) -> Usage:
        """What an owner's jobs in a queue have taken."""
        ...

    def usages(self) -> Mapping[tuple[str, str], Usage]:
        """What was taken, by queue and owner."""
        ...

    def put_usage(self, queue: str, owner: str, usage: Usage) -> None:
        """Store what an owner's jobs in a queue have taken."""
        ...

    def forget_usage(self, queue: str) -> None:
        """Remove what jobs in a queue have taken."""
        ...

    def durations_of(self, model: str, limit: int) -> Sequence[int]:
        """Seconds charged for each of a model's newest jobs that succeeded."""
        ...

    def claim_lease(self, job_uid: str, worker: str, ttl: timedelta) -> int | None:
        """The fence of a fresh lease on a job, or None while another worker holds it."""
        ...

    def prolong_lease(self, job_uid: str, worker: str, fence: int, ttl: timedelta) -> bool:
        """Keep the lease for another `ttl`; False if it is another's, or was released."""
        ...

    def holds_lease(self, job_uid: str, worker: str, fence: int) -> bool:
        """Whether nobody has claimed the lease since, and it was not released."""
        ...

    def release_lease(self, job_uid: str, worker: str, fence: int) -> None:
        """Let others claim at once."""
        ...

    def lease_expired(self, job_uid: str) -> bool:
        """Whether a job's lease has run out or was released."""
        ...

    def tell(self, kind: str, subject: str, data: Mapping[str, Any]) -> str:
        """Write an event into the outbox; gives its id."""
        ...


class TrainerReads(Protocol):
    """Lists, and what grows: logs and series.

    Every list raises InvalidArgument for a filter, order or token that is malformed.
    """

    def jobs(self, query: PageQuery) -> Page[TrainingJob]:
        """Of a project, newest first."""
        ...

    def trials(self, query: PageQuery, job_uid: str) -> Page[Trial]:
        """Of a job, in their order."""
        ...

    def checkpoints(self, query: PageQuery, job_uid: str) -> Page[StoredCheckpoint]:
        """Of a job, by trial and step."""
        ...

    def points(self, query: PageQuery, job_uid: str, series: str) -> Page[MetricPoint]:
        """Of a job, by trial, series and step; an empty series means all."""
        ...

    def points_after(
        self, job_uid: str, position: int, limit: int
    ) -> tuple[Sequence[MetricPoint], int]:
        """The next points that were stored after `position`, and the position reached."""
        ...

    def log_after(self, job_uid: str, number: int, limit: int) -> Sequence[LogLine]:
        """The next lines after `number`."""
        ...

    def costs(self, query: CostQuery) -> CostReport:
        """What was charged, by group, largest first."""
        ...

    def owner_budgets(self, query: PageQuery) -> Page[OwnerBudget]:
        """A project's budgets by owner, with what this month has cost."""
        ...

    def freezes(self, query: PageQuery) -> Page[Freeze]:
        """Of a project, by name."""
        ...

    def queues(self, query: PageQuery) -> Page[Queue]:
        """Of a project, by name, the default one among them."""
        ...

    def holding(self, jobs: Sequence[TrainingJob]) -> Mapping[str, str]:
        """The freeze that holds each job that is held, by the job's name."""
        ...

    def progress_of(self, jobs: Sequence[TrainingJob]) -> Mapping[str, float]:
        """Share of each job that is done, 0 to 1, by its name."""
        ...


class Snapshots(Protocol):
    """What the trainer asks about snapshots before it takes a job."""

    async def columns(self, snapshot: str) -> Mapping[str, str]:
        """Arrow type of each column of a sealed snapshot.

        Raises:
            UnusableSnapshot: There is no such snapshot, or it is not sealed.
            SnapshotHeld: A privacy hold is on it.
            Unavailable: Nobody can say at present.
        """
        ...

    async def pin(self, target: str, job: str) -> None:
        """Keep a snapshot or a version for a job that is about to be stored.

        Raises:
            UnusableSnapshot: It is gone.
            Unavailable: Nobody can say at present.
        """
        ...


class VersionRecords(Protocol):
    """What versions say of how they were made."""

    async def made_with(self, version: str) -> MadeWith | None:
        """What a version was made with; None where it, or what it says, is gone.

        Raises:
            Unavailable: Nobody can say at present.
        """
        ...


@dataclass(frozen=True, slots=True)
class VersionScores:
    """A recorded evaluation.

    Attributes:
        evaluation: Its resource name.
        metrics: Its scores.
    """

    evaluation: str
    metrics: Mapping[str, float]


class VersionEvaluator(Protocol):
    """Scores versions."""

    async def evaluate(
        self, version: str, spec: JobSpec, part: str, *, purpose: Purpose, request_id: str
    ) -> VersionScores:
        """What a version scores on one part of a job's rows, recorded in the registry.

        Args:
            version: Resource name of a committed version.
            spec: The job's, for its snapshot, target and split.
            part: `train`, `validation`, `test` or `all`.
            purpose: What the rows are used for.
            request_id: Makes the record one, however often this is called with it.

        Raises:
            EvaluationFailed: The version or the snapshot can't be used for this.
            Unavailable: The registry does not answer.
        """
        ...
