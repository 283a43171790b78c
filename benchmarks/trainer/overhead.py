"""The same training as a job and as a bare script, in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import psutil

from benchmarks.harness import Bar, Row
from benchmarks.trainer.world import World
from services.trainer.core.spec import Candidate, JobSpec
from tests.support.trainer_process import fork_servers_of
from tests.support.trainer_values import spec

LENGTH_S: Final = 300.0
_GOAL_PERCENT: Final = 3.0
_SCALED: Final = "overhead of a job of 5 minutes, from its parts"


@dataclass(frozen=True, slots=True)
class Spent:
    """Where the time of one training went.

    Attributes:
        total_s: From the first look at the data to the end.
        fits_s: Of that, within the steps of its fits.
    """

    total_s: float
    fits_s: float


def overhead_percent(job: Spent, script: Spent, length_s: float) -> float:
    """Share of a job of `length_s` that the bare script would not need, in percent.

    Outside of the fits a job needs as much more than the script as it did here, however long the
    fits take; within them, as large a share as here. For `length_s` equal to `job.total_s` it is
    the plain difference.
    """
    outside_s = job.total_s - job.fits_s
    more_outside_s = outside_s - (script.total_s - script.fits_s)
    fits_s = length_s - outside_s
    return 100 * (more_outside_s + fits_s * (1 - script.fits_s / job.fits_s)) / length_s


def within_fits(fits: Sequence[Sequence[float]]) -> float:
    """Seconds in fits, by when each step of each was done: the first step takes as long as others.

    Raises:
        ValueError: A fit has fewer than two steps.
    """
    if any(len(times_s) < 2 for times_s in fits):
        raise ValueError("a fit of one step can't be timed by its steps")
    return sum(
        (max(times_s) - min(times_s)) * len(times_s) / (len(times_s) - 1) for times_s in fits
    )


def training_spec(epochs: int) -> JobSpec:
    """A network of so many epochs, each with its points and its checkpoint, on one thread."""
    return spec(candidates=(Candidate("mlp", {"epochs": epochs}),), threads=1)


def compare(world: World, *, epochs: int, rounds: int) -> list[Row]:
    """Seconds of both, and what the job costs more.

    Args:
        world: With a warm trainer.
        epochs: Of each of the two fits.
        rounds: How often each is measured.
    """
    asked = training_spec(epochs)
    scripts: list[dict[str, Any]] = []
    jobs: list[Spent] = []
    cpu_s: list[tuple[float, float]] = []
    for number in range(rounds):
        scripts.append(world.script("training", asked))
        before = _cpu(world)
        jobs.append(_job(world, f"trained-{number}", asked))
        after = _cpu(world)
        cpu_s.append((after[0] - before[0], after[1] - before[1]))
    bare = [Spent(each["total_s"], within_fits(each["fits_s"])) for each in scripts]
    pairs = list(zip(jobs, bare, strict=True))
    return [
        _row(
            "training as a bare script",
            "s",
            [each.total_s for each in bare],
            {
                "in_fits_s": bare[-1].fits_s,
                "cpu_s": scripts[-1]["cpu_s"],
                "imports_before_s": scripts[-1]["import_s"],
            },
        ),
        _row(
            "the same as a job, from its claim to its end",
            "s",
            [each.total_s for each in jobs],
            {
                "in_fits_s": jobs[-1].fits_s,
                "worker_cpu_s": cpu_s[-1][0],
                "services_cpu_s": cpu_s[-1][1],
            },
        ),
        _row(
            "overhead of the job as it was",
            "percent",
            [overhead_percent(job, script, job.total_s) for job, script in pairs],
            {},
        ),
        _row(
            "CPU time of the worker and the services beyond the script's",
            "s",
            [
                worker_s + services_s - script["cpu_s"]
                for (worker_s, services_s), script in zip(cpu_s, scripts, strict=True)
            ],
            {},
        ),
        _row(
            _SCALED,
            "percent",
            [overhead_percent(job, script, LENGTH_S) for job, script in pairs],
            {"outside_of_fits_s": _more_outside(*pairs[-1])},
        ),
    ]


def bars(rows: Sequence[Row]) -> list[Bar]:
    """What a job costs more."""
    value = {row.name: row.value for row in rows}
    return [Bar.at_most(_SCALED, value[_SCALED], _GOAL_PERCENT, "percent")]


def _more_outside(job: Spent, script: Spent) -> float:
    return job.total_s - job.fits_s - (script.total_s - script.fits_s)


def _job(world: World, job_id: str, asked: JobSpec) -> Spent:
    name = world.jobs.submit(job_id, asked)
    world.jobs.succeeded(name)
    entered = world.jobs.entered(name)
    fits: dict[str, list[float]] = {}
    for step in world.jobs.steps(name):
        fits.setdefault(step.trial, []).append(step.time_s)
    return Spent(entered["succeeded"] - entered["preparing"], within_fits(list(fits.values())))


def _cpu(world: World) -> tuple[float, float]:
    """CPU seconds so far: of workers that have ended, and of the trainer and the registry."""
    deadline = time.monotonic() + 10
    (server,) = fork_servers_of(world.trainer.pid)
    while server.children() and time.monotonic() < deadline:
        time.sleep(0.02)
    used = server.cpu_times()
    services = [psutil.Process(pid).cpu_times() for pid in (world.trainer.pid, world.registry.pid)]
    return (
        used.children_user + used.children_system,
        sum(each.user + each.system for each in services),
    )


def _row(name: str, unit: str, rounds: Sequence[float], facts: dict[str, float]) -> Row:
    return Row(name, unit, median(rounds), tuple(rounds), facts)
