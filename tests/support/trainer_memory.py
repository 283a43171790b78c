"""The trainer's transaction port over dictionaries: the model that databases are held against."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.common.names import parent_of
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
from services.trainer.core.queues import Queue, Usage
from services.trainer.core.states import JobState
from tests.support.registry_memory import MemoryCollection
from tests.support.trainer_values import EPOCH


@dataclass
class Lease:
    """Who may work on a job."""

    worker: str
    fence: int
    expire_time: datetime


@dataclass
class MemoryTrainerTx:
    """One long transaction; `now` is turned by hand."""

    now: datetime = EPOCH
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    cleanups_due: list[str] = field(default_factory=list)
    ledger: dict[tuple[str, int, int], Charge] = field(default_factory=dict)
    freezes: MemoryCollection[Freeze] = field(default_factory=MemoryCollection)
    queues: MemoryCollection[Queue] = field(default_factory=MemoryCollection)
    _usages: dict[tuple[str, str], Usage] = field(default_factory=dict)
    _budgets: dict[tuple[str, str], int] = field(default_factory=dict)
    _jobs: dict[str, TrainingJob] = field(default_factory=dict)
    _trials: dict[str, dict[int, Trial]] = field(default_factory=dict)
    _points: dict[tuple[str, str, str, int], MetricPoint] = field(default_factory=dict)
    _logs: dict[str, list[LogLine]] = field(default_factory=dict)
    _checkpoints: dict[tuple[str, str, int], StoredCheckpoint] = field(default_factory=dict)
    _leases: dict[str, Lease] = field(default_factory=dict)
    _uids: itertools.count[int] = field(default_factory=itertools.count)

    def new_uid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._uids):012}"

    def job(self, name: str) -> TrainingJob | None:
        return self._jobs.get(name)

    def unfinished_jobs(self) -> Sequence[TrainingJob]:
        waiting = [job for job in self._jobs.values() if not job.state.over]
        return sorted(waiting, key=lambda job: (job.create_time, job.name))

    def add_job(self, job: TrainingJob, trials: Sequence[Trial]) -> None:
        self._jobs[job.name] = job
        self._trials[job.uid] = {trial.index: trial for trial in trials}
        self._logs[job.uid] = []

    def replace_job(self, job: TrainingJob) -> None:
        self._jobs[job.name] = job

    def remove_job(self, name: str) -> None:
        uid = self._jobs.pop(name).uid
        del self._trials[uid], self._logs[uid]
        self._points = {key: point for key, point in self._points.items() if key[0] != uid}

    def trials(self, job_uid: str) -> tuple[Trial, ...]:
        return tuple(trial for _, trial in sorted(self._trials.get(job_uid, {}).items()))

    def trial(self, job_uid: str, trial_id: str) -> Trial | None:
        """The trial of that id, if the job has it."""
        return next((each for each in self.trials(job_uid) if each.id == trial_id), None)

    def add_trials(self, job_uid: str, trials: Sequence[Trial]) -> None:
        self._trials[job_uid] |= {trial.index: trial for trial in trials}

    def replace_trial(self, job_uid: str, trial: Trial) -> None:
        self._trials[job_uid][trial.index] = trial

    def put_points(self, job_uid: str, points: Sequence[MetricPoint]) -> None:
        for point in points:
            self._points[job_uid, point.trial, point.series, point.step] = point

    def points(self, job_uid: str) -> list[MetricPoint]:
        return [point for key, point in sorted(self._points.items()) if key[0] == job_uid]

    def append_log(self, job_uid: str, attempt: int, lines: Sequence[str]) -> None:
        log = self._logs[job_uid]
        log += [LogLine(len(log) + n, self.now, attempt, text) for n, text in enumerate(lines, 1)]

    def log(self, job_uid: str) -> list[LogLine]:
        return self._logs.get(job_uid, [])

    def set_reported(self, job_uid: str, attempt: int, sequence: int) -> None:
        job = next(job for job in self._jobs.values() if job.uid == job_uid)
        attempts = list(job.attempts)
        attempts[attempt - 1] = replace(attempts[attempt - 1], reported=sequence)
        self._jobs[job.name] = replace(job, attempts=tuple(attempts))

    def set_metered(self, job_uid: str, attempt: Attempt) -> None:
        job = next(job for job in self._jobs.values() if job.uid == job_uid)
        attempts = list(job.attempts)
        attempts[attempt.number - 1] = replace(
            attempts[attempt.number - 1],
            charged_s=attempt.charged_s,
            granted_s=attempt.granted_s,
        )
        self._jobs[job.name] = replace(job, attempts=tuple(attempts))

    def put_charges(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            self.ledger[charge.job_uid, charge.attempt, charge.tick] = charge

    def spent(self, project: str, owner: str, month: str) -> int:
        return sum(
            charge.amount_micros
            for charge in self.ledger.values()
            if (parent_of(charge.job), charge.owner, charge.month) == (project, owner, month)
        )

    def owner_budget(self, project: str, owner: str) -> int | None:
        return self._budgets.get((project, owner))

    def set_owner_budget(self, project: str, owner: str, micros: int | None) -> None:
        self._budgets.pop((project, owner), None)
        if micros is not None:
            self._budgets[project, owner] = micros

    def freezes_in_force(self) -> Sequence[Freeze]:
        return [each for each in self.freezes.everything() if not each.is_over(self.now)]

    def all_queues(self) -> Sequence[Queue]:
        return self.queues.everything()

    def usage(self, queue: str, owner: str) -> Usage:
        return self._usages.get((queue, owner), Usage(0.0, self.now))

    def usages(self) -> Mapping[tuple[str, str], Usage]:
        return dict(self._usages)

    def put_usage(self, queue: str, owner: str, usage: Usage) -> None:
        self._usages[queue, owner] = usage

    def forget_usage(self, queue: str) -> None:
        self._usages = {key: usage for key, usage in self._usages.items() if key[0] != queue}

    def durations_of(self, model: str, limit: int) -> Sequence[int]:
        over = [
            job
            for job in self._jobs.values()
            if job.spec.model == model and job.state is JobState.SUCCEEDED
        ]
        newest = sorted(over, key=lambda job: job.update_time, reverse=True)[:limit]
        seconds = [sum(attempt.charged_s for attempt in job.attempts) for job in newest]
        return [each for each in seconds if each]

    def add_cleanup(self, job: TrainingJob) -> None:
        self.cleanups_due.append(job.uid)

    def add_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        self._checkpoints[job_uid, checkpoint.trial, checkpoint.step] = checkpoint

    def remove_checkpoint(self, job_uid: str, checkpoint: StoredCheckpoint) -> None:
        self._checkpoints.pop((job_uid, checkpoint.trial, checkpoint.step), None)

    def checkpoints(self, job_uid: str) -> tuple[StoredCheckpoint, ...]:
        mine = [found for key, found in self._checkpoints.items() if key[0] == job_uid]
        return tuple(sorted(mine, key=lambda found: (found.create_time, found.step), reverse=True))

    def claim_lease(self, job_uid: str, worker: str, ttl: timedelta) -> int | None:
        lease = self._leases.get(job_uid)
        if lease and lease.worker not in ("", worker) and lease.expire_time > self.now:
            return None
        fence = lease.fence + 1 if lease else 1
        self._leases[job_uid] = Lease(worker, fence, self.now + ttl)
        return fence

    def prolong_lease(self, job_uid: str, worker: str, fence: int, ttl: timedelta) -> bool:
        if not self.holds_lease(job_uid, worker, fence):
            return False
        self._leases[job_uid].expire_time = self.now + ttl
        return True

    def holds_lease(self, job_uid: str, worker: str, fence: int) -> bool:
        lease = self._leases.get(job_uid)
        return lease is not None and (lease.worker, lease.fence) == (worker, fence)

    def release_lease(self, job_uid: str, worker: str, fence: int) -> None:
        if self.holds_lease(job_uid, worker, fence):
            self._leases[job_uid].worker = ""

    def lease_expired(self, job_uid: str) -> bool:
        lease = self._leases.get(job_uid)
        return lease is None or not lease.worker or lease.expire_time <= self.now

    def tell(self, kind: str, subject: str, data: Mapping[str, Any]) -> str:
        self.events.append((kind, subject, data))
        return f"event-{len(self.events)}"
