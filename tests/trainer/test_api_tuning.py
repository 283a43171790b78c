"""Searches on real worker processes, beside a real registry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.core.pruning import HyperbandPruning, MedianPruning
from services.trainer.core.search_space import FloatRange, IntRange, NumberChoice, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import TIMEOUT_S, refused
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.support.trainer_process import workers_of

pytestmark = pytest.mark.real
Trial = job_pb2.Trial
MLP = Candidate(
    "mlp",
    {"hidden_units": 8, "epochs": 8},
    (
        SearchParameter("learning_rate", FloatRange(1e-5, 1e-1, log=True)),
        SearchParameter("batch_rows", NumberChoice((64.0, 256.0))),
    ),
)
TREE = Candidate("decision_tree", {}, (SearchParameter("max_depth", IntRange(1, 6)),))


async def trials_of(caller: TrainerCaller, job: str) -> list[job_pb2.Trial]:
    request = job_service_pb2.ListTrialsRequest(parent=job, page_size=1000)
    response = await caller.jobs.ListTrials(request, timeout=TIMEOUT_S, wait_for_ready=True)
    return list(response.trials)


def outcomes(trials: list[job_pb2.Trial]) -> list[object]:
    """What each trial was and scored, without how long it took."""
    return [
        (each.name.rpartition("/")[2], dict(each.parameters), each.state, dict(each.metrics))
        for each in trials
    ]


async def searched(caller: TrainerCaller, name: str, **changes: object) -> job_pb2.TrainingJob:
    return await caller.until_over(await caller.submit(name, **changes))


async def test_a_search_registers_the_best_of_its_trials_and_of_what_is_tried_once(
    caller: TrainerCaller,
) -> None:
    candidates = (Candidate("logistic_regression", {}), MLP, TREE)
    tuning = Tuning(Sampler.TPE, None, max_trials=5, parallel_trials=2)
    job = await searched(caller, "search", candidates=candidates, tuning=tuning)
    assert state_name(job) == "SUCCEEDED", job.error
    trials = await trials_of(caller, job.name)
    assert len(trials) == 6
    assert {each.state for each in trials} == {Trial.STATE_SUCCEEDED}
    best = max(trials, key=lambda each: each.metrics["auc"])
    assert job.best_trial == best.name
    assert job.progress == 1.0
    assert any("5 trials were tried" in line for line in await caller.log(job.name))


async def test_trials_that_fall_behind_are_stopped_and_never_win(caller: TrainerCaller) -> None:
    tuning = Tuning(
        Sampler.RANDOM, HyperbandPruning(min_steps=2, reduction_factor=2, brackets=1), 8
    )
    job = await searched(caller, "pruned", candidates=(MLP,), tuning=tuning)
    assert state_name(job) == "SUCCEEDED", job.error
    trials = await trials_of(caller, job.name)
    stopped = [each for each in trials if each.state == Trial.STATE_PRUNED]
    assert stopped
    for each in stopped:
        assert each.progress < 1
        assert "rung" in each.message
    assert job.best_trial not in {each.name for each in stopped}


async def kill_now_and_then(
    caller: TrainerCaller, name: str, victims: Callable[[], list[psutil.Process]], steps: list[int]
) -> None:
    for points in steps:
        await caller.until_points(name, points)
        for victim in victims():
            with suppress(psutil.NoSuchProcess):
                victim.kill()


def leaders() -> list[psutil.Process]:
    return workers_of(os.getpid())


def trial_processes() -> list[psutil.Process]:
    return [child for leader in leaders() for child in leader.children()][:1]


async def test_a_search_whose_worker_is_killed_again_and_again_finds_what_it_would_have(
    tmp_path: Path,
) -> None:
    tuning = Tuning(Sampler.TPE, MedianPruning(startup_trials=2, warmup_steps=3), 4)
    async with running_trainer(tmp_path) as caller:
        whole = await searched(caller, "whole", candidates=(MLP,), tuning=tuning)
        name = await caller.submit("killed", candidates=(MLP,), tuning=tuning, max_attempts=9)
        await kill_now_and_then(caller, name, leaders, [5, 18])
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        assert len(job.attempts) == 3
        assert outcomes(await trials_of(caller, name)) == outcomes(
            await trials_of(caller, whole.name)
        )
        assert await caller.points(name) == await caller.points(whole.name)


async def test_trials_side_by_side_survive_the_loss_of_a_process_and_of_the_worker(
    tmp_path: Path,
) -> None:
    tuning = Tuning(Sampler.RANDOM, None, 4, parallel_trials=2)
    async with running_trainer(tmp_path) as caller:
        whole = await searched(caller, "whole", candidates=(MLP,), tuning=tuning)
        name = await caller.submit("killed", candidates=(MLP,), tuning=tuning, max_attempts=9)
        await kill_now_and_then(caller, name, trial_processes, [6])
        await kill_now_and_then(caller, name, leaders, [20])
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        assert outcomes(await trials_of(caller, name)) == outcomes(
            await trials_of(caller, whole.name)
        )
        assert any("waits for another" in line for line in await caller.log(name))


async def test_trial_processes_end_with_their_worker(tmp_path: Path) -> None:
    tuning = Tuning(Sampler.RANDOM, None, 20, parallel_trials=2)
    async with running_trainer(tmp_path) as caller:
        name = await caller.submit("orphans", candidates=(MLP,), tuning=tuning)
        await caller.until_points(name, 4)
        (leader,) = leaders()
        orphans = leader.children()
        assert len(orphans) == 2
        leader.kill()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 20)
        assert (len(gone), alive) == (2, [])


async def test_a_space_outside_of_what_the_algorithm_takes_is_refused(
    caller: TrainerCaller,
) -> None:
    space = (SearchParameter("max_depth", IntRange(0, 6)),)
    with refused() as refusal:
        await caller.submit("deep", candidates=(Candidate("decision_tree", {}, space),))
    path = "training_job.spec.candidates[0].search_space"
    assert refusal.fields() == [path]
    with refused() as refusal:
        await caller.submit(
            "deep",
            candidates=(Candidate("decision_tree", {}, space),),
            tuning=Tuning(Sampler.TPE, None, 3),
        )
    assert refusal.fields() == [f"{path}[0].distribution"]
