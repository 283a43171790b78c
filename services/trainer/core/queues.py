"""Queues: the lines that a project's jobs wait in, what each may take, and by what share."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from services.common.names import ResourceName
from services.common.resources import Meta
from services.trainer.core.spec import JobSpec

QUEUE: Final = ResourceName("projects/{project}/queues/{queue}")
DEFAULT_QUEUE: Final = "default"
"""Id of the queue that every project has."""

HALF_LIFE: Final = timedelta(hours=1)
"""After this long, what a queue has taken counts half: some jobs of the usual length."""


AHEAD: Final = timedelta(minutes=1)
"""A job that runs counts as if it had taken its share this long already: else all workers that are
free at one moment would go to one queue."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What jobs take, or may take, at a time.

    Attributes:
        jobs: How many they are.
        threads: That they may keep busy.
        memory_mib: That their processes may allocate together.
        gpus: That they hold.
    """

    jobs: int = 0
    threads: int = 0
    memory_mib: int = 0
    gpus: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.jobs + other.jobs,
            self.threads + other.threads,
            self.memory_mib + other.memory_mib,
            self.gpus + other.gpus,
        )

    def __sub__(self, other: Amounts) -> Amounts:
        return self + Amounts(-other.jobs, -other.threads, -other.memory_mib, -other.gpus)

    def __str__(self) -> str:
        amounts = f"{self.jobs} jobs, {self.threads} threads, {self.memory_mib} MiB"
        return f"{amounts}, {self.gpus} GPUs" if self.gpus else amounts

    def within(self, quota: Amounts) -> bool:
        """Whether nothing is above `quota`, in which 0 means no limit."""
        return (
            (not quota.jobs or self.jobs <= quota.jobs)
            and (not quota.threads or self.threads <= quota.threads)
            and (not quota.memory_mib or self.memory_mib <= quota.memory_mib)
            and (not quota.gpus or self.gpus <= quota.gpus)
        )

    def share_of(self, machine: Amounts) -> float:
        """The dominant share: the largest part that this is of anything there is.

        Source: Ghodsi et al., Dominant Resource Fairness, NSDI 2011.

        Args:
            machine: All there is; none of it is 0 but GPUs, where there are none.
        """
        return max(
            self.jobs / machine.jobs,
            self.threads / machine.threads,
            self.memory_mib / machine.memory_mib,
            self.gpus / machine.gpus if machine.gpus else 0.0,
        )


def needed(spec: JobSpec, machine: Amounts) -> Amounts:
    """What a job takes while it runs; where its spec sets no limit, all there is."""
    memory_mib = spec.reserved_memory_mib or machine.memory_mib
    return Amounts(1, spec.reserved_threads(machine.threads), memory_mib, spec.gpus)


@dataclass(frozen=True, slots=True)
class Queue:
    """A line of jobs.

    Attributes:
        meta: `projects/{p}/queues/{queue}`.
        weight: Its share of the workers is to those of other queues as their weights are.
        quota: What its jobs may take at a time.
        owner_quota: What each owner's jobs in it may take at a time.
        protected: None of its jobs is stopped to make room for one of higher priority.
    """

    meta: Meta
    weight: int = 1
    quota: Amounts = field(default_factory=Amounts)
    owner_quota: Amounts = field(default_factory=Amounts)
    protected: bool = False

    @property
    def is_untouched(self) -> bool:
        """Whether it is a default queue that nobody has changed: it is stored nowhere."""
        return self.meta.uid == _standing_uid(self.meta.name) and self.meta.revision == 1


def queue_name(project: str, queue_id: str) -> str:
    """Resource name of a queue of `projects/{project}`."""
    return f"{project}/queues/{queue_id}"


def default_queue(project: str) -> Queue:
    """The queue of `projects/{project}` that is there without anybody having made it."""
    name = queue_name(project, DEFAULT_QUEUE)
    never = datetime.fromtimestamp(0, UTC)
    return Queue(Meta(name, _standing_uid(name), 1, never, never))


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner's jobs in a queue have taken, in seconds of the whole machine; it fades.

    Source: Kay and Lauder, A Fair Share Scheduler, CACM 1988: usage that decays over time.

    Attributes:
        seconds: As it was at `time`.
        time: When something was last added.
    """

    seconds: float
    time: datetime

    def plus(self, seconds: float, now: datetime) -> Usage:
        """This with `seconds` more."""
        return Usage(self._left(now) + seconds, now)

    def recent_share(self, now: datetime) -> float:
        """The part of the machine that was taken, on average of the past with half-life weights."""
        return mean_share(self._left(now))

    def _left(self, now: datetime) -> float:
        elapsed = max(timedelta(0), now - self.time)
        return float(self.seconds * 2.0 ** -(elapsed / HALF_LIFE))


def mean_share(seconds: float) -> float:
    """The share that leaves `seconds` of the machine to whoever has always taken it.

    The integral of s * 2**(-t / HALF_LIFE) over the past is s * HALF_LIFE / ln 2.
    """
    return seconds * math.log(2) / HALF_LIFE.total_seconds()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a queue stands at the moment.

    Attributes:
        running: What its jobs that run take.
        waiting_jobs: Its jobs that wait for a worker.
        recent_share: Part of the machine that its jobs took, on average of the past.
    """

    running: Amounts = field(default_factory=Amounts)
    waiting_jobs: int = 0
    recent_share: float = 0.0

    def with_running(self, amounts: Amounts) -> Standing:
        """This with one more job that runs."""
        return replace(self, running=self.running + amounts)

    def with_waiting(self) -> Standing:
        """This with one more job that waits."""
        return replace(self, waiting_jobs=self.waiting_jobs + 1)


def _standing_uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
