"""Jobs that pick by folds, on real worker processes beside a real registry."""

from __future__ import annotations

import pytest
from roundhouse.registry.v1 import evaluation_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.core.search_space import IntRange, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import TIMEOUT_S, request_id
from tests.support.trainer_api import TrainerCaller, state_name

pytestmark = pytest.mark.real
FOREST = Candidate("random_forest", {"trees": 300})
FOLDS = 8


async def trials_of(caller: TrainerCaller, job: str) -> list[job_pb2.Trial]:
    request = job_service_pb2.ListTrialsRequest(parent=job, page_size=1000)
    return list((await caller.jobs.ListTrials(request, timeout=TIMEOUT_S)).trials)


async def folds_done(caller: TrainerCaller, job: str) -> list[str]:
    """Log lines of folds, in their order."""
    return [line.partition(":")[0] for line in await caller.log(job) if " fold " in line]


async def test_a_job_that_is_stopped_between_folds_does_none_again_and_comes_to_the_same(
    caller: TrainerCaller,
) -> None:
    changes = {"candidates": (FOREST,), "cross_validation_folds": FOLDS}
    whole = await caller.until_over(await caller.submit("whole", **changes))
    assert state_name(whole) == "SUCCEEDED", whole.error
    job = await caller.submit("broken", **changes)

    await caller.until(job, lambda found: 1 / (1 + FOLDS) < found.progress / 0.75 < 1)
    pause = job_service_pb2.PauseTrainingJobRequest(name=job, request_id=request_id())
    await caller.jobs.PauseTrainingJob(pause, timeout=TIMEOUT_S)
    await caller.until(job, lambda found: state_name(found) == "PAUSED")
    resume = job_service_pb2.ResumeTrainingJobRequest(name=job, request_id=request_id())
    await caller.jobs.ResumeTrainingJob(resume, timeout=TIMEOUT_S)
    ended = await caller.until_over(job)
    assert (state_name(ended), len(ended.attempts)) == ("SUCCEEDED", 2), ended.error

    (expected,), (trial,) = await trials_of(caller, whole.name), await trials_of(caller, job)
    assert len(trial.folds) == FOLDS
    assert list(trial.folds) == list(expected.folds)
    assert trial.metrics == expected.metrics
    assert trial.fold_spread["auc"] > 0
    assert await folds_done(caller, job) == [
        f"random-forest-1 fold {at}" for at in range(1, FOLDS + 1)
    ]


async def test_folds_in_parallel_lanes_pick_the_winner_and_leave_the_test_part_alone(
    caller: TrainerCaller,
) -> None:
    tree = Candidate("decision_tree", {}, (SearchParameter("max_depth", IntRange(1, 6)),))
    job = await caller.until_over(
        await caller.submit(
            "search",
            candidates=(Candidate("logistic_regression", {}), tree),
            tuning=Tuning(Sampler.RANDOM, None, max_trials=3, parallel_trials=2),
            cross_validation_folds=2,
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    trials = await trials_of(caller, job.name)
    assert [len(trial.folds) for trial in trials] == [2] * 4
    assert {fold.learn_rows + fold.rows for trial in trials for fold in trial.folds} == {560, 840}
    assert job.best_trial == max(trials, key=lambda trial: trial.fold_mean["auc"]).name
    recorded = await caller.registry.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(parent=job.model_version), timeout=TIMEOUT_S
    )
    assert sorted(each.split for each in recorded.evaluations) == ["test", "validation"]
