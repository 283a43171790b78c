"""Which jobs get the workers there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.names import parent_of
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.states import JobState


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    Attributes:
        start: Jobs that get a free worker, in their order.
        preempt: Running jobs that are to make room.
    """

    start: tuple[TrainingJob, ...]
    preempt: tuple[TrainingJob, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there is to give.

    Attributes:
        free: Workers that could start now.
        per_owner: Jobs of one owner that may run at a time; 0 means no quota.
        frozen: Projects of which none but critical jobs are started.
    """

    free: int
    per_owner: int = 0
    frozen: Collection[str] = ()

    def admits(self, job: TrainingJob) -> bool:
        """Whether no freeze holds it."""
        return job.critical or parent_of(job.name) not in self.frozen


def plan(jobs: Sequence[TrainingJob], capacity: Capacity, now: datetime) -> Plan:
    """Who starts and who makes room.

    Higher priority first; among equals the owner that has the fewest jobs running, so that a
    hundred jobs of one don't keep out the one job of another; then the oldest. A job that waits
    has one of lower priority make room, the lowest and youngest, unless its owner is at its quota.

    Args:
        jobs: All that are not over.
        capacity: What there is to give.
        now: Decides whose pause before a retry is over.
    """
    running = [job for job in jobs if job.state.active]
    waiting = [
        job
        for job in jobs
        if job.state is JobState.QUEUED and job.ready_time <= now and capacity.admits(job)
    ]
    shares = Counter(_owner(job) for job in running)
    start: list[TrainingJob] = []
    preempt: list[TrainingJob] = []
    # Whoever is asked already makes room for someone who waits.
    leaving = sum(job.preempt_requested for job in running)
    victims = sorted(
        (job for job in running if not job.preempt_requested),
        key=lambda job: (-job.priority, job.attempts[-1].start_time, job.name),
    )
    while waiting:
        first = min(waiting, key=lambda job: (-job.priority, shares[_owner(job)], _age(job)))
        waiting.remove(first)
        if capacity.per_owner and shares[_owner(first)] >= capacity.per_owner:
            continue
        if len(start) < capacity.free:
            start.append(first)
        elif leaving:
            leaving -= 1
        elif victims and victims[-1].priority < first.priority:
            preempt.append(victims.pop())
        else:
            continue
        shares[_owner(first)] += 1
    return Plan(tuple(start), tuple(preempt))


def _owner(job: TrainingJob) -> tuple[str, str]:
    return parent_of(job.name), job.owner


def _age(job: TrainingJob) -> tuple[datetime, str]:
    return job.create_time, job.name
