"""Repeating a job that has succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.trainer.core.comparing import MadeWith
from services.trainer.core.errors import JobIsReproduction, JobUnfinished, RecipeChanged
from services.trainer.core.jobs import TrainingJob, Trial
from services.trainer.core.ports import TrainerTx
from services.trainer.core.reproduction import Reproduction
from services.trainer.core.states import JobState
from services.trainer.core.use_cases.spending import Terms
from services.trainer.core.use_cases.submission import NewJob, enqueue, existing


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a repetition beside the job that it repeats.

    Attributes:
        name: Resource name that it shall have.
        tolerance: The most that numbers may differ by.
        traceparent: W3C trace context of its submission; may be empty.
        owner: Who pays; empty means the original's.
        budget_micros: The most that it may cost; None means the original's.
        queue: Id of the queue that it waits in; empty means the original's.
    """

    name: str
    tolerance: float
    traceparent: str
    owner: str = ""
    budget_micros: int | None = None
    queue: str = ""


def reproducible(tx: TrainerTx, name: str) -> TrainingJob:
    """The job called `name`, which can be repeated as far as the trainer's rows tell.

    Raises:
        JobNotFound: There is none.
        JobIsReproduction: It repeats another one itself.
        JobUnfinished: It has not succeeded.
    """
    job = existing(tx, name)
    if job.reproduction is not None:
        raise JobIsReproduction(name, job.reproduces)
    if job.state is not JobState.SUCCEEDED:
        raise JobUnfinished(name, job.state)
    return job


def check_recipes(
    job: TrainingJob, made_with: MadeWith | None, packages: Mapping[str, str]
) -> None:
    """Pass if every algorithm of a job is installed, that of its winner in the same version.

    Args:
        job: The original.
        made_with: What its version says; None where that is gone.
        packages: Package and version that bring each algorithm there is.

    Raises:
        RecipeChanged: One of them is not.
    """
    recorded = {} if made_with is None else {made_with.algorithm: made_with.package}
    for candidate in job.spec.candidates:
        algorithm = candidate.algorithm
        installed = packages.get(algorithm, "")
        if not installed or recorded.get(algorithm, installed) != installed:
            raise RecipeChanged(job.name, algorithm, recorded.get(algorithm, ""), installed)


def repeat_of(original: TrainingJob, made_with: MadeWith | None, wish: Wish) -> NewJob:
    """The job that repeats `original` with the threads that it had, whatever it was told."""
    threads = original.spec.threads if made_with is None else made_with.threads
    return NewJob(
        name=wish.name,
        labels={},
        spec=replace(original.spec, threads=threads),
        traceparent=wish.traceparent,
        owner=wish.owner or original.owner,
        budget_micros=(
            original.budget_micros if wish.budget_micros is None else wish.budget_micros
        ),
        queue=wish.queue or original.queue,
        reproduction=Reproduction(original.name, wish.tolerance),
    )


def reproduce(tx: TrainerTx, original: str, new: NewJob, terms: Terms) -> TrainingJob:
    """A queued job with exactly the trials that `original` made, and its cost as an estimate.

    Raises:
        JobNotFound, JobIsReproduction, JobUnfinished: As `reproducible` does.
        JobExists, QueueNotFound, QueueTooSmall: As `enqueue` does.
    """
    job = reproducible(tx, original)
    trials = [
        Trial(
            id=trial.id,
            index=trial.index,
            algorithm=trial.algorithm,
            parameters=trial.parameters,
            candidate=trial.candidate,
        )
        for trial in tx.trials(job.uid)
    ]
    seconds = sum(attempt.charged_s for attempt in job.attempts)
    estimate_micros = seconds * terms.rate(new.spec)
    return enqueue(tx, new, trials, terms, estimate_micros=estimate_micros)
