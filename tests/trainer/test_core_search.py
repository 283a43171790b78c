"""Search spaces, pruning rules and the ends of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import Money
from services.trainer.core.errors import InvalidProposal
from services.trainer.core.jobs import TRIAL, Trial
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.pruning import HyperbandPruning, MedianPruning, Runner, why_pruned
from services.trainer.core.search import Proposal, Sample, why_over
from services.trainer.core.search_space import (
    Condition,
    FloatRange,
    IntRange,
    NumberChoice,
    SearchParameter,
    Space,
    chosen,
    contains,
    grid,
)
from services.trainer.core.spec import Candidate, JobSpec, spec_from_json, spec_to_json
from services.trainer.core.states import TrialState
from services.trainer.core.tuning import Sampler, Tuning
from services.trainer.core.use_cases import reports, submission
from services.trainer.core.use_cases.submission import NewJob
from services.trainer.core.validation import spec_faults
from tests.support.trainer_jobs import claimed
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import JOB, TERMS, spec

RULES = {
    "mlp": {
        "epochs": ParameterRule(8, 1, 1000, whole=True),
        "learning_rate": ParameterRule(1e-3, 1e-6, 1),
        "dropout": ParameterRule(0.1, 0, 0.9),
    }
}
SPACE = (
    SearchParameter("epochs", NumberChoice((2.0, 4.0))),
    SearchParameter("learning_rate", FloatRange(1e-4, 1e-1, log=True)),
    SearchParameter("dropout", FloatRange(0.0, 0.5, step=0.25), Condition("epochs", (4.0,))),
)
TUNING = Tuning(Sampler.TPE, None, max_trials=3)


def tuned_spec(space: Space = SPACE, tuning: Tuning | None = TUNING, **fixed: float) -> JobSpec:
    return spec(candidates=(Candidate("mlp", fixed, space),), tuning=tuning)


def fields(faulty: JobSpec) -> list[str]:
    return [fault.field.removeprefix("training_job.spec.") for fault in spec_faults(faulty, RULES)]


@given(epochs=st.sampled_from([2.0, 4.0]), rate=st.floats(1e-4, 1e-1), dropout=st.floats(0, 0.5))
def test_what_is_chosen_lies_in_the_space_and_conditions_hold(
    epochs: float, rate: float, dropout: float
) -> None:
    values = {"epochs": epochs, "learning_rate": rate, "dropout": dropout}
    found = chosen(SPACE, lambda parameter: values[parameter.name])
    assert ("dropout" in found) == (epochs == 4.0)
    assert contains(SPACE, found)
    assert not contains(SPACE, {**found, "epochs": 3.0})
    assert not contains(SPACE, {**found, "rounds": 1.0})


def test_a_grid_has_every_combination_once_and_keeps_to_conditions() -> None:
    space = (SPACE[0], SearchParameter("hidden_units", IntRange(4, 10, step=3)), SPACE[2])
    points = list(grid(space))
    assert len(points) == 3 + 3 * 3
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    assert {point["hidden_units"] for point in points} == {4.0, 7.0, 10.0}
    assert all(contains(space, point) for point in points)


@given(
    sampler=st.sampled_from(Sampler),
    pruning=st.one_of(
        st.none(),
        st.builds(MedianPruning, st.integers(1, 9), st.integers(0, 9)),
        st.builds(HyperbandPruning, st.integers(1, 9), st.integers(2, 9), st.integers(1, 8)),
    ),
    seconds=st.sampled_from([0.0, 0.5, 3600.0]),
)
def test_json_keeps_a_search(
    sampler: Sampler, pruning: MedianPruning | HyperbandPruning | None, seconds: float
) -> None:
    tuning = Tuning(sampler, pruning, 9, 2, seconds, 4)
    given_spec = tuned_spec(tuning=tuning, batch_rows=64.0)
    assert spec_from_json(spec_to_json(given_spec)) == given_spec


def test_a_good_search_has_no_fault() -> None:
    assert fields(tuned_spec()) == []


def test_every_fault_of_a_search_is_named_at_once() -> None:
    space = (
        SearchParameter("rounds", IntRange(1, 5)),
        SearchParameter("epochs", FloatRange(1, 5)),
        SearchParameter("dropout", FloatRange(0.0, 0.5, log=True), Condition("nothing", (1.0,))),
        SearchParameter("learning_rate", FloatRange(1e-4, 2.0), Condition("epochs", (9.0,))),
    )
    path = "candidates[0].search_space"
    assert fields(tuned_spec(space, dropout=0.2)) == [
        f"{path}[0].name",
        f"{path}[1].distribution",
        f"{path}[2].name",
        f"{path}[2].distribution",
        f"{path}[2].condition",
        f"{path}[3].distribution",
        f"{path}[3].condition",
    ]


def test_a_space_needs_tuning_and_tuning_needs_a_space() -> None:
    assert fields(tuned_spec(tuning=None)) == ["candidates[0].search_space"]
    assert fields(tuned_spec(())) == ["tuning"]


def test_samplers_name_the_spaces_that_they_cannot_search() -> None:
    assert fields(tuned_spec(tuning=Tuning(Sampler.GRID, None, 3))) == [
        "candidates[0].search_space[1].distribution"
    ]
    assert fields(tuned_spec(tuning=Tuning(Sampler.CMA_ES, None, 3))) == ["tuning.sampler"]


def sample(loss: float | None, state: TrialState = TrialState.SUCCEEDED) -> Sample:
    return Sample(Proposal(0, {}), state, loss)


def test_a_search_ends_at_its_first_limit() -> None:
    limits = Tuning(Sampler.TPE, None, max_trials=5, max_duration_s=60, patience_trials=2)
    found = [sample(0.5), sample(0.4), sample(None, TrialState.FAILED)]
    assert why_over(limits, found, 10, 0) == ""
    assert "60 s" in why_over(limits, found, 60, 0)
    assert "2 trials" in why_over(limits, [*found, sample(0.45)], 10, 0)
    assert why_over(limits, [*found, sample(None, TrialState.RUNNING)], 10, 0) == ""
    assert why_over(limits, [*found, sample(0.3)], 10, 0) == ""
    capped = replace(limits, max_cost=Money(5, "USD"))
    assert "0.000005 USD" in why_over(capped, found, 10, 5)
    assert "5 trials" in why_over(limits, [sample(0.1 * n) for n in range(5, 0, -1)], 10, 0)


@given(
    curves=st.lists(
        st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=8
    ),
    mine=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4),
    startup=st.integers(1, 4),
    warmup=st.integers(0, 3),
)
def test_the_median_rule_decides_as_optunas_does(
    curves: Sequence[Sequence[float]], mine: Sequence[float], startup: int, warmup: int
) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(startup, warmup)
    study = optuna.create_study(pruner=pruner)
    for curve in curves:
        values = dict(enumerate(curve, 1))
        study.add_trial(optuna.create_trial(value=curve[-1], intermediate_values=values))
    trial = study.ask()
    for step, value in enumerate(mine, 1):
        trial.report(value, step)
    others = [Runner(n, dict(enumerate(curve, 1)), True) for n, curve in enumerate(curves)]
    runner = Runner(len(curves), dict(enumerate(mine, 1)), False)
    rule = MedianPruning(startup, warmup)
    # Optuna counts warm-up from step 0 on: it may stop at the step that equals it.
    if len(mine) != warmup:
        assert bool(why_pruned(rule, runner, len(mine), others)) == trial.should_prune()


def test_a_rung_keeps_the_best_of_its_bracket() -> None:
    rule = HyperbandPruning(min_steps=2, reduction_factor=2, brackets=2)
    others = [Runner(2 * n, {1: 1.0, 2: 0.1 * n}, False) for n in range(4)]
    assert why_pruned(rule, Runner(8, {1: 9.0}, False), 1, others) == ""
    assert why_pruned(rule, Runner(8, {1: 9.0, 2: 0.15}, False), 2, others) != ""
    assert why_pruned(rule, Runner(8, {1: 9.0, 2: 0.05}, False), 2, others) == ""
    assert why_pruned(rule, Runner(9, {1: 9.0, 2: 0.9}, False), 2, others) == ""


def test_a_rung_is_judged_once_by_the_first_step_that_reaches_it() -> None:
    rule = HyperbandPruning(min_steps=5, reduction_factor=2, brackets=1)
    rival = Runner(1, {10: 0.1}, False)
    assert why_pruned(rule, Runner(0, {3: 0.9}, False), 3, [rival]) == ""
    assert "rung 5" in why_pruned(rule, Runner(0, {3: 0.9, 6: 0.9}, False), 6, [rival])
    assert why_pruned(rule, Runner(0, {6: 0.9, 9: 0.9}, False), 9, [rival]) == ""


def added(tx: MemoryTrainerTx, position: int, parameters: dict[str, float]) -> Trial:
    claim = claimed(tx)
    return reports.add_trial(tx, claim, Proposal(0, parameters), position, RULES)


def searching() -> MemoryTrainerTx:
    tx = MemoryTrainerTx()
    submission.submit(tx, NewJob(JOB, {}, tuned_spec(), ""), RULES, TERMS)
    return tx


def test_a_searched_candidate_has_no_trial_before_tuning_chooses_one() -> None:
    tx = searching()
    assert tx.trials(submission.existing(tx, JOB).uid) == ()


def test_a_trial_of_one_position_is_added_once() -> None:
    tx = searching()
    first = added(tx, 0, {"epochs": 2.0, "learning_rate": 0.01})
    assert first.parameters == {"epochs": 2.0, "learning_rate": 0.01, "dropout": 0.1}
    assert added(tx, 0, {"epochs": 2.0, "learning_rate": 0.02}) == first
    assert TRIAL.matches(f"{JOB}/trials/{first.id}")


@pytest.mark.parametrize(
    ("position", "parameters"),
    [
        (1, {"epochs": 2.0, "learning_rate": 0.01}),
        (0, {"epochs": 3.0, "learning_rate": 0.01}),
        (0, {"epochs": 4.0, "learning_rate": 0.01}),
        (0, {}),
    ],
)
def test_a_trial_that_tuning_could_not_choose_is_refused(
    position: int, parameters: dict[str, float]
) -> None:
    with pytest.raises(InvalidProposal):
        added(searching(), position, parameters)


def test_no_trial_is_added_beyond_the_limit() -> None:
    tx = searching()
    for position in range(3):
        added(tx, position, {"epochs": 2.0, "learning_rate": 0.01})
    with pytest.raises(InvalidProposal):
        added(tx, 3, {"epochs": 2.0, "learning_rate": 0.01})
