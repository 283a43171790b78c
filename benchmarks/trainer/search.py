"""Trials per hour of a job's search, and of bare Optuna on the same cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Final

from benchmarks.harness import Bar, Row, Sample, interleaved
from benchmarks.trainer.world import World
from services.trainer.core.search_space import FloatRange, SearchParameter
from services.trainer.core.spec import Candidate, JobSpec
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.trainer_values import spec

_GOAL: Final = 0.9
_JOB: Final = "trials of a job"
_OPTUNA: Final = "trials of bare Optuna"


def search_spec(epochs: int, trials_per_core: int) -> JobSpec:
    """A search with a trial on each core; whatever it tries takes as long."""
    cores = len(os.sched_getaffinity(0))
    space = (
        SearchParameter("learning_rate", FloatRange(1e-4, 1e-2, log=True)),
        SearchParameter("weight_decay", FloatRange(1e-6, 1e-2, log=True)),
    )
    tuning = Tuning(Sampler.TPE, None, cores * trials_per_core, parallel_trials=cores)
    candidates = (Candidate("mlp", {"epochs": epochs}, space),)
    return spec(candidates=candidates, tuning=tuning, threads=cores)


def trials_per_hour(world: World, *, epochs: int, trials_per_core: int, rounds: int) -> list[Row]:
    """A row for each.

    Args:
        world: With a warm trainer.
        epochs: Of each trial.
        trials_per_core: Of each round.
        rounds: How often each is measured.
    """
    asked = search_spec(epochs, trials_per_core)
    assert asked.tuning is not None
    trials = asked.tuning.max_trials
    numbers = count()

    def job() -> Sample:
        name = world.jobs.submit(f"searched-{next(numbers)}", asked)
        world.jobs.succeeded(name)
        entered = world.jobs.entered(name)
        return _sample(trials, entered["evaluating"] - entered["running"])

    def bare() -> Sample:
        printed = world.script("tuning", asked)
        if printed["trials"] != trials:
            raise RuntimeError(f"Optuna did {printed['trials']} trials of {trials}")
        return _sample(trials, printed["total_s"])

    return interleaved([(_OPTUNA, "trials/h", bare), (_JOB, "trials/h", job)], rounds)


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The job's trials as a share of Optuna's."""
    value = {row.name: row.value for row in rows}
    return [Bar.at_least(f"{_JOB} / {_OPTUNA}", value[_JOB] / value[_OPTUNA], _GOAL)]


def _sample(trials: int, took_s: float) -> Sample:
    return Sample(trials / took_s * 3600, {"s_per_trial": took_s / trials})
