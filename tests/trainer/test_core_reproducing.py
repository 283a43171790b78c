"""Jobs that repeat others, from the wish to the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.trainer.core.comparing import MadeWith
from services.trainer.core.errors import (
    IllegalTransition,
    InvalidProposal,
    JobInUse,
    JobIsReproduction,
    JobUnfinished,
    RecipeChanged,
)
from services.trainer.core.jobs import Attempt, TrainingJob, Trial
from services.trainer.core.reproduction import Comparison, Outcome, Subject, Verdict
from services.trainer.core.search import Proposal
from services.trainer.core.search_space import IntRange, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.states import STAGES, AttemptState, JobState, TrialState
from services.trainer.core.tuning import Sampler, Tuning
from services.trainer.core.use_cases import attempts, reports, submission
from services.trainer.core.use_cases.attempts import Claim, Registered
from services.trainer.core.use_cases.reproducing import (
    Wish,
    check_recipes,
    repeat_of,
    reproduce,
    reproducible,
)
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import EPOCH, JOB, TERMS, job, spec

AGAIN = f"{JOB}-again"
WISH = Wish(AGAIN, 1e-5, "")
PACKAGES = {"decision_tree": "roundhouse 1", "mlp": "roundhouse 1"}
MADE = MadeWith("sha256:a", "sha256:b", 2, "decision_tree", "roundhouse 1", {})
FOUND = [Comparison(Subject.GRAPH, Outcome.EQUAL)]
SPACE = (SearchParameter("max_depth", IntRange(1, 6)),)
SEARCH = spec(
    candidates=(Candidate("decision_tree", {}, SPACE),),
    tuning=Tuning(Sampler.RANDOM, None, 9, patience_trials=2),
)
TRIALS = tuple(
    Trial(
        f"decision-tree-{index + 1}",
        index,
        "decision_tree",
        {"max_depth": float(depth)},
        TrialState.SUCCEEDED,
        1.0,
        {"auc": 0.75},
        3.0,
        chosen_parameters={"max_depth": float(depth)},
    )
    for index, depth in enumerate((4, 2, 6))
)


def with_original(**changes: object) -> MemoryTrainerTx:
    """A transaction that knows a job that has succeeded, by three trials of at most nine."""
    tx = MemoryTrainerTx()
    attempt = Attempt(1, "w1", 1, AttemptState.SUCCEEDED, EPOCH, charged_s=40)
    fields = {"spec": SEARCH, "state": JobState.SUCCEEDED, "attempts": (attempt,)}
    tx.add_job(
        job(**{**fields, "owner": "ann", "budget_micros": 7_000_000, "queue": "bulk", **changes}),
        TRIALS,
    )
    return tx


def repeated(tx: MemoryTrainerTx, wish: Wish = WISH) -> TrainingJob:
    original = reproducible(tx, JOB)
    new = replace(repeat_of(original, MADE, wish), queue="default")
    return reproduce(tx, JOB, new, TERMS)


def ready(tx: MemoryTrainerTx, name: str = AGAIN) -> Claim:
    """A claim of the job, in its last stage."""
    assignment = attempts.claim(tx, name, "w1", TERMS)
    assert assignment is not None
    for stage in STAGES:
        attempts.enter_stage(tx, assignment.claim, stage)
    return assignment.claim


def test_a_repetition_has_exactly_the_trials_that_were_made_and_none_more() -> None:
    tx = with_original()
    again = repeated(tx)
    made = [Trial(each.id, each.index, each.algorithm, each.parameters) for each in TRIALS]
    assert list(tx.trials(again.uid)) == made
    claim = attempts.claim(tx, AGAIN, "w1", TERMS)
    assert claim is not None
    with pytest.raises(InvalidProposal) as refusal:
        reports.add_trial(tx, claim.claim, Proposal(0, {"max_depth": 3.0}), 3, {})
    assert refusal.value.metadata["field"] == "position"


def test_a_repetition_takes_what_nobody_says_from_its_original() -> None:
    original = reproducible(with_original(), JOB)
    new = repeat_of(original, MADE, WISH)
    assert (new.owner, new.budget_micros, new.queue) == ("ann", 7_000_000, "bulk")
    assert (new.priority, new.critical, dict(new.labels)) == (0, False, {})
    assert new.spec == replace(SEARCH, threads=2)
    assert repeat_of(original, None, WISH).spec == SEARCH
    told = repeat_of(original, MADE, Wish(AGAIN, 0.1, "", "bob", 0, "fast"))
    assert (told.owner, told.budget_micros, told.queue) == ("bob", 0, "fast")


def test_a_repetition_is_expected_to_cost_what_its_original_did() -> None:
    assert repeated(with_original()).estimate_micros == 40 * 2 * 100


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.SUCCEEDED}))
def test_only_a_job_that_succeeded_is_repeated(state: JobState) -> None:
    with pytest.raises(JobUnfinished) as refusal:
        reproducible(with_original(state=state), JOB)
    assert refusal.value.metadata == {"name": JOB, "state": state.value}


def test_a_repetition_ends_without_a_version_and_is_not_repeated_itself() -> None:
    tx = with_original()
    repeated(tx)
    claim = ready(tx)
    for _ in range(2):
        attempts.finish_reproduction(tx, claim, f"{AGAIN}/trials/decision-tree-2", FOUND)
    done = submission.existing(tx, AGAIN)
    assert (done.state, done.model_version, done.evaluation) == (JobState.SUCCEEDED, "", "")
    assert done.reproduction is not None
    assert done.reproduction.verdict is Verdict.BIT_EQUAL
    kind, _, data = tx.events[-1]
    assert kind == "job.succeeded"
    assert data == {
        "attempt": 1,
        "reproduces": JOB,
        "verdict": "BIT_EQUAL",
        "failed_attempts": 0,
    }
    with pytest.raises(JobIsReproduction):
        reproducible(tx, AGAIN)


def test_a_job_that_repeats_none_can_not_end_with_a_comparison() -> None:
    tx = MemoryTrainerTx()
    tx.add_job(job(), TRIALS)
    with pytest.raises(IllegalTransition):
        attempts.finish_reproduction(tx, ready(tx, JOB), f"{JOB}/trials/x", FOUND)


def test_an_original_is_kept_until_its_repetition_is_over() -> None:
    tx = with_original()
    repeated(tx)
    with pytest.raises(JobInUse) as refusal:
        submission.delete(tx, JOB, "")
    assert refusal.value.metadata == {"name": JOB, "reproduction": AGAIN}
    submission.cancel(tx, AGAIN, "")
    submission.delete(tx, JOB, "")


@pytest.mark.parametrize(
    ("packages", "made", "recorded", "installed"),
    [
        ({"mlp": "roundhouse 1"}, MADE, "roundhouse 1", ""),
        ({"decision_tree": "roundhouse 2"}, MADE, "roundhouse 1", "roundhouse 2"),
        ({}, None, "", ""),
    ],
)
def test_a_recipe_that_is_gone_or_another_is_named(
    packages: dict[str, str], made: MadeWith | None, recorded: str, installed: str
) -> None:
    original = reproducible(with_original(), JOB)
    with pytest.raises(RecipeChanged) as refusal:
        check_recipes(original, made, packages)
    assert refusal.value.metadata == {
        "name": JOB,
        "algorithm": "decision_tree",
        "recorded": recorded,
        "installed": installed,
    }


@pytest.mark.parametrize("made", [MADE, None, replace(MADE, algorithm="mlp", package="other 3")])
def test_recipes_that_are_as_they_were_or_that_nobody_noted_pass(made: MadeWith | None) -> None:
    check_recipes(reproducible(with_original(), JOB), made, PACKAGES)


def test_what_a_version_was_registered_with_is_no_end_of_a_repetition() -> None:
    tx = with_original()
    repeated(tx)
    claim = ready(tx)
    with pytest.raises(IllegalTransition):
        attempts.finish(tx, claim, Registered("version", "evaluation", "trial"))
