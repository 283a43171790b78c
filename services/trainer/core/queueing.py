"""Which jobs get the workers there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from services.common.names import parent_of
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.queues import AHEAD, Amounts, Queue, default_queue, mean_share, needed
from services.trainer.core.states import JobState

Scope: TypeAlias = tuple[str, str]
"""A project's or queue's resource name, and an owner within; no owner means all."""

_EVERYBODY: Final[Scope] = ("", "")


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
class Room:
    """What there is, and what the operator lets everybody have of it.

    Attributes:
        machine: All there is; none of it is 0 but GPUs, where there are none.
        per_owner: Jobs of one owner in one project that may run at a time; 0 means no quota.
        per_project: Jobs of one project that may run at a time; 0 means no quota.
    """

    machine: Amounts
    per_owner: int = 0
    per_project: int = 0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there is to give.

    Attributes:
        free: Workers that could start now.
        room: Limits for all.
        frozen: Projects of which none but critical jobs are started.
        queues: By name; those that are not among them are default queues as they come.
        recent: Part of the machine that each queue's owners took of late, on average.
        starting: Names of jobs that have a worker already, though none has claimed them yet.
    """

    free: int
    room: Room
    frozen: Collection[str] = ()
    queues: Mapping[str, Queue] = field(default_factory=dict)
    recent: Mapping[Scope, float] = field(default_factory=dict)
    starting: Collection[str] = ()

    def admits(self, job: TrainingJob) -> bool:
        """Whether no freeze holds it."""
        return job.critical or parent_of(job.name) not in self.frozen

    def queue_of(self, job: TrainingJob) -> Queue:
        """The queue that a job is in."""
        return self.queues.get(job.queue_name) or default_queue(parent_of(job.name))

    def quotas_of(self, job: TrainingJob) -> dict[Scope, Amounts]:
        """What those may take at a time whose share a job takes part of."""
        project, queue = parent_of(job.name), self.queue_of(job)
        # Cores and memory are shared; a GPU is one worker's.
        gpus = {_EVERYBODY: Amounts(gpus=self.room.machine.gpus)} if job.spec.gpus else {}
        return {
            **gpus,
            (project, ""): Amounts(jobs=self.room.per_project),
            (project, job.owner): Amounts(jobs=self.room.per_owner),
            (job.queue_name, ""): queue.quota,
            (job.queue_name, job.owner): queue.owner_quota,
        }


class _Taken:
    """Who takes what, and whose turn it is for more."""

    def __init__(self, capacity: Capacity, jobs: Iterable[TrainingJob]) -> None:
        self._capacity = capacity
        self._amounts: defaultdict[Scope, Amounts] = defaultdict(Amounts)
        self._shares: defaultdict[Scope, float] = defaultdict(float)
        for (queue, owner), share in capacity.recent.items():
            self._shares[queue, ""] += share
            self._shares[queue, owner] += share
        for job in jobs:
            self.add(job)

    def add(self, job: TrainingJob) -> None:
        self._change(job, 1)

    def remove(self, job: TrainingJob) -> None:
        self._change(job, -1)

    def has_room(self, job: TrainingJob, instead_of: TrainingJob | None = None) -> bool:
        """Whether no quota is broken by `job`, once the other one is gone."""
        more = self._needed(job)
        less = (
            {}
            if instead_of is None
            else dict.fromkeys(self._capacity.quotas_of(instead_of), self._needed(instead_of))
        )
        return all(
            (self._amounts[scope] + more - less.get(scope, Amounts())).within(quota)
            for scope, quota in self._capacity.quotas_of(job).items()
        )

    def turn(self, job: TrainingJob) -> tuple[float, int, float, datetime, str]:
        """The least goes first."""
        owner_share = self._shares[job.queue_name, job.owner]
        return self._share(job), -job.priority, owner_share, job.create_time, job.name

    def yields(self, running: TrainingJob, job: TrainingJob) -> bool:
        """Whether a running job makes room for a waiting one.

        Across queues only as long as the queue that gains stays below what the other has, so that
        priority can't take a queue's share away (LessThanInitialShare of Kueue's fair sharing).
        """
        if running.priority >= job.priority or self._capacity.queue_of(running).protected:
            return False
        return running.queue_name == job.queue_name or (
            self._share(job, more=self._part(job)) < self._share(running)
        )

    def _share(self, job: TrainingJob, more: float = 0.0) -> float:
        weight = self._capacity.queue_of(job).weight
        return (self._shares[job.queue_name, ""] + more) / weight

    def _change(self, job: TrainingJob, sign: int) -> None:
        more, part = self._needed(job), self._part(job)
        for scope in self._capacity.quotas_of(job):
            held = self._amounts[scope]
            self._amounts[scope] = held + more if sign > 0 else held - more
            self._shares[scope] += sign * part

    def _needed(self, job: TrainingJob) -> Amounts:
        return needed(job.spec, self._capacity.room.machine)

    def _part(self, job: TrainingJob) -> float:
        share = self._needed(job).share_of(self._capacity.room.machine)
        return mean_share(share * AHEAD.total_seconds())


def plan(jobs: Sequence[TrainingJob], capacity: Capacity, now: datetime) -> Plan:
    """Who starts and who makes room.

    The queue goes first that took least of late for its weight, by dominant shares, what it runs
    being counted for a while ahead. In a queue goes first who has the higher priority; among equals
    the owner who took least, so that a hundred jobs of one don't keep out the one job of another;
    then the oldest. Who would break a quota lets others pass. A job that waits has one of lower
    priority make room, the lowest and youngest.

    Args:
        jobs: All that are not over.
        capacity: What there is to give.
        now: Decides whose pause before a retry is over.
    """
    running = [job for job in jobs if job.state.active]
    occupying = [job for job in jobs if job.state.active or job.name in capacity.starting]
    # What is taken at this moment, and what will be once those who were asked have made room.
    present, planned = _Taken(capacity, occupying), _Taken(capacity, occupying)
    # Whoever is asked already makes room for someone who waits.
    leaving = [job for job in running if job.preempt_requested]
    victims = sorted(
        (job for job in running if not job.preempt_requested),
        key=lambda job: (-job.priority, job.attempts[-1].start_time, job.name),
    )
    lines = _lines(jobs, capacity, now)
    start: list[TrainingJob] = []
    preempt: list[TrainingJob] = []
    while lines and (len(start) < capacity.free or leaving or victims):
        line = min(lines, key=lambda line: planned.turn(line[-1]))
        job = line.pop()
        if not line:
            lines.remove(line)
        if len(start) < capacity.free and planned.has_room(job):
            if present.has_room(job):
                start.append(job)
                present.add(job)
                planned.add(job)
            continue
        goes = next((each for each in leaving if planned.has_room(job, each)), None)
        if goes is not None:
            leaving.remove(goes)
        else:
            goes = next(
                (
                    each
                    for each in reversed(victims)
                    if planned.yields(each, job) and planned.has_room(job, each)
                ),
                None,
            )
            if goes is None:
                continue
            victims.remove(goes)
            preempt.append(goes)
        planned.remove(goes)
        planned.add(job)
    return Plan(tuple(start), tuple(preempt))


def _lines(
    jobs: Iterable[TrainingJob], capacity: Capacity, now: datetime
) -> list[list[TrainingJob]]:
    """The jobs that wait, by queue and owner, who goes first at each end."""
    lines: defaultdict[Scope, list[TrainingJob]] = defaultdict(list)
    for job in jobs:
        waits = job.state is JobState.QUEUED and job.name not in capacity.starting
        if waits and job.ready_time <= now and capacity.admits(job):
            lines[job.queue_name, job.owner].append(job)
    for line in lines.values():
        line.sort(key=lambda job: (-job.priority, job.create_time, job.name), reverse=True)
    return list(lines.values())
