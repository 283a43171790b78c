"""Metering attempts by the second, and keeping them inside their budgets.

An attempt works under a grant: a number of seconds, counted from its start, that it may last
without another word from the service, and that its budgets pay for. What is granted to running
attempts and reserved for them counts as spent for every other one, so attempts that run side by
side can't overspend together; and since a worker ends with its grant, a service that is away
can't make them overspend either.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from services.common.money import Money
from services.common.names import parent_of
from services.trainer.core.errors import BudgetExceeded
from services.trainer.core.jobs import Attempt, TrainingJob
from services.trainer.core.money import (
    SLICE_S,
    Charge,
    PriceTable,
    Resources,
    month_of,
)
from services.trainer.core.ports import TrainerTx
from services.trainer.core.queues import Amounts
from services.trainer.core.spec import JobSpec

STOP_AHEAD_S: Final = 5
"""Seconds before a budget is spent at which a worker is told to stop at a checkpoint."""

USUAL_TRIAL_S: Final = 30
"""What one trial is expected to take where the model has no history."""

HISTORY: Final = 20
"""Jobs of a model that an estimate looks back at."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What attempts work under.

    Attributes:
        ttl: How long a claim holds without a heartbeat.
        prices: Of what an attempt occupies.
        machine: All there is, for jobs that may take all of it.
    """

    ttl: timedelta
    prices: PriceTable
    machine: Amounts

    def rate(self, spec: JobSpec) -> int:
        """Millionths a second that an attempt at `spec` costs."""
        memory_gib = -(-spec.reserved_memory_mib // 1024)
        cores = spec.reserved_threads(self.machine.threads)
        return self.prices.rate(Resources(cores, memory_gib, spec.gpus))

    @property
    def window_s(self) -> int:
        """The longest grant."""
        return int(self.ttl.total_seconds()) + 1


def estimated(tx: TrainerTx, spec: JobSpec, terms: Terms) -> int:
    """What a job is expected to cost: as its model's jobs have lasted, at today's prices."""
    history = tx.durations_of(spec.model, HISTORY)
    seconds = statistics.median_low(history) if history else USUAL_TRIAL_S * spec.expected_trials
    return seconds * terms.rate(spec)


def metered(tx: TrainerTx, job: TrainingJob) -> TrainingJob:
    """The job with every second of its running attempt that has begun charged; not stored yet."""
    attempt = job.running_attempt
    if attempt is None:
        return job
    begun = (tx.now - attempt.start_time) // timedelta(seconds=1) + 1
    # Beyond its grant no worker lives: a service that was away charges up to that.
    seconds = max(attempt.charged_s, min(begun, attempt.granted_s))
    tx.put_charges(charges(job, attempt, seconds))
    if seconds > attempt.charged_s:
        taken_s = (seconds - attempt.charged_s) * attempt.share
        usage = tx.usage(job.queue_name, job.owner)
        tx.put_usage(job.queue_name, job.owner, usage.plus(taken_s, tx.now))
    return job.with_last_attempt(replace(attempt, charged_s=seconds))


def charges(job: TrainingJob, attempt: Attempt, seconds: int) -> list[Charge]:
    """The ledger's entries for an attempt's first `seconds`, from the first that may change."""
    return [
        Charge(
            job=job.name,
            job_uid=job.uid,
            attempt=attempt.number,
            tick=tick,
            start_time=attempt.start_time + timedelta(seconds=tick * SLICE_S),
            seconds=min(SLICE_S, seconds - tick * SLICE_S),
            amount_micros=min(SLICE_S, seconds - tick * SLICE_S) * attempt.rate_micros,
            owner=job.owner,
            model=job.spec.model,
            price_version=attempt.price_version,
        )
        for tick in range(attempt.charged_s // SLICE_S, -(-seconds // SLICE_S))
    ]


def check_start(tx: TrainerTx, job: TrainingJob, terms: Terms) -> None:
    """Pass if the budgets have room for what is reserved for the job.

    Raises:
        BudgetExceeded: One of them has not.
    """
    rate = terms.rate(job.spec)
    for budget, available in _available(tx, job).items():
        needed = rate if budget == job.name else max(rate, job.reserved_micros)
        if available < needed:
            raise _exceeded(job, budget, available, needed, terms)


def granted(tx: TrainerTx, job: TrainingJob, terms: Terms) -> int:
    """Seconds that the running attempt, metered, may go on: of the window, what budgets pay for."""
    attempt = job.running_attempt
    available = _available(tx, job)
    if attempt is None or not available or not attempt.rate_micros:
        return terms.window_s
    return max(0, min(terms.window_s, min(available.values()) // attempt.rate_micros))


def exceeded(tx: TrainerTx, job: TrainingJob, terms: Terms) -> BudgetExceeded:
    """Which budget has no room for one second more of the job."""
    rate = terms.rate(job.spec)
    budget, available = min(_available(tx, job).items(), key=lambda each: each[1])
    return _exceeded(job, budget, available, rate, terms)


def _exceeded(
    job: TrainingJob, budget: str, available: int, needed: int, terms: Terms
) -> BudgetExceeded:
    currency = terms.prices.currency
    return BudgetExceeded(
        job.name, budget, str(Money(max(0, available), currency)), str(Money(needed, currency))
    )


def _available(tx: TrainerTx, job: TrainingJob) -> dict[str, int]:
    """What each budget of the job has left for it, by the job's or the owner's name."""
    available = {}
    if job.budget_micros is not None:
        available[job.name] = job.budget_micros - job.cost_micros
    project = parent_of(job.name)
    monthly = tx.owner_budget(project, job.owner)
    if monthly is not None:
        spent = tx.spent(project, job.owner, month_of(tx.now))
        others = sum(
            other.outstanding_micros
            for other in tx.unfinished_jobs()
            if (parent_of(other.name), other.owner) == (project, job.owner)
            and other.name != job.name
        )
        available[f"owner {job.owner}"] = monthly - spent - others
    return available
