"""What samplers choose: from the stored trials alone, inside the space, and better than chance."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from services.trainer.adapters.sampling import propose
from services.trainer.core.search import Proposal, Sample
from services.trainer.core.search_space import (
    Condition,
    FloatRange,
    IntRange,
    NumberChoice,
    SearchParameter,
    contains,
)
from services.trainer.core.spec import Candidate, JobSpec
from services.trainer.core.states import TrialState
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.trainer_values import spec

RANGES = (
    SearchParameter("learning_rate", FloatRange(1e-4, 1e-1, log=True)),
    SearchParameter("hidden_units", IntRange(2, 64)),
)
CONDITIONAL = (
    *RANGES,
    SearchParameter("batch_rows", NumberChoice((64.0, 512.0))),
    SearchParameter("dropout", FloatRange(0.0, 0.6, step=0.2), Condition("batch_rows", (64.0,))),
)
STEPPED = (
    SearchParameter("dropout", FloatRange(0.1, 0.5, step=0.2)),
    SearchParameter("batch_rows", NumberChoice((64.0, 512.0))),
)
SPACES = {
    Sampler.TPE: CONDITIONAL,
    Sampler.RANDOM: CONDITIONAL,
    Sampler.GRID: STEPPED,
    Sampler.CMA_ES: RANGES,
}


def searched(sampler: Sampler, seed: int = 7) -> JobSpec:
    candidates = (Candidate("mlp", {}, SPACES[sampler]),)
    if sampler in (Sampler.TPE, Sampler.RANDOM):
        candidates += (Candidate("decision_tree", {}), Candidate("mlp", {"epochs": 1.0}, RANGES))
    return spec(candidates=candidates, tuning=Tuning(sampler, None, 99), seed=seed)


def distance(proposal: Proposal) -> float:
    """How far a proposal is from a learning rate of .01 and 40 units."""
    rate = proposal.parameters.get("learning_rate", 0.01)
    units = proposal.parameters.get("hidden_units", 40.0)
    return (math.log10(rate) + 2) ** 2 + ((units - 40) / 60) ** 2


def run(
    job: JobSpec, count: int, loss: Callable[[Proposal], float | None] = distance
) -> list[Sample]:
    """So many trials, one after the other."""
    found: list[Sample] = []
    while len(found) < count:
        proposal = propose(job, found)
        if proposal is None:
            return found
        value = loss(proposal)
        state = TrialState.FAILED if value is None else TrialState.SUCCEEDED
        found.append(Sample(proposal, state, value))
    return found


@pytest.mark.parametrize("sampler", Sampler)
def test_the_same_trials_give_the_same_next_proposal_inside_the_space(sampler: Sampler) -> None:
    job = searched(sampler)
    found = run(job, 14)
    for known in range(len(found)):
        assert propose(job, found[:known]) == found[known].proposal
    for sample in found:
        space = job.candidates[sample.proposal.candidate].space
        assert contains(space, sample.proposal.parameters), sample


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.RANDOM, Sampler.CMA_ES])
def test_another_seed_searches_elsewhere(sampler: Sampler) -> None:
    assert propose(searched(sampler, 1), []) != propose(searched(sampler, 2), [])


def test_candidates_without_a_space_are_never_proposed() -> None:
    found = run(searched(Sampler.TPE), 20)
    assert {sample.proposal.candidate for sample in found} == {0, 2}


def test_a_grid_ends_with_its_last_point() -> None:
    found = run(searched(Sampler.GRID), 99)
    assert len(found) == 6
    assert len({tuple(sample.proposal.parameters.items()) for sample in found}) == 6


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.CMA_ES])
def test_a_sampler_that_learns_comes_nearer_with_time(sampler: Sampler) -> None:
    losses = [sample.loss or 0.0 for sample in run(searched(sampler), 48)]
    early, late = losses[:12], losses[-12:]
    assert sum(late) < sum(early) / 2


@pytest.mark.parametrize("sampler", Sampler)
def test_trials_that_run_or_failed_or_were_stopped_are_no_obstacle(sampler: Sampler) -> None:
    job = searched(sampler)
    found = run(job, 4)
    states = (TrialState.RUNNING, TrialState.PENDING, TrialState.FAILED, TrialState.PRUNED)
    odd = [
        Sample(each.proposal, state, 0.3 if state is TrialState.PRUNED else None)
        for each, state in zip(found, states, strict=True)
    ]
    proposal = propose(job, odd)
    assert proposal is not None
    assert contains(job.candidates[proposal.candidate].space, proposal.parameters)
