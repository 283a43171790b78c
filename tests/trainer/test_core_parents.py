"""What a version may lose against its parent, and what a spec may ask of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.failures import NotAsGood
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.parents import MaximumLoss, Mode, check_losses, fidelity
from services.trainer.core.spec import JobSpec, spec_from_json, spec_to_json
from tests.support.trainer_values import spec

PARENT = "projects/default/models/delays/versions/1"
MODES = {
    "mlp": frozenset({Mode.FULL, Mode.DISTILLATION}),
    "decision_tree": frozenset({Mode.FULL}),
}
SCORES = {"auc": 0.8, "log_loss": 0.5}


def fields(faulty: JobSpec) -> list[str]:
    return [fault.field for fault in mode_faults(faulty, MODES, "spec")]


def test_a_job_that_takes_nothing_over_has_no_fault() -> None:
    assert fields(spec("mlp", "decision_tree")) == []
    assert fields(spec("decision_tree", parent_version=PARENT)) == []


def test_a_mode_needs_a_parent_and_candidates_that_can_do_it() -> None:
    distilled = spec("mlp", "decision_tree", "oracle", mode=Mode.DISTILLATION)
    assert fields(distilled) == ["spec.parent_version", "spec.candidates[1].algorithm"]
    assert fields(spec("mlp", mode=Mode.DISTILLATION, parent_version=PARENT)) == []


def test_a_maximum_loss_goes_with_a_mode_that_takes_over() -> None:
    assert fields(spec(maximum_loss=MaximumLoss())) == ["spec.maximum_loss"]


def test_json_keeps_what_is_taken_over() -> None:
    given_spec = spec(
        mode=Mode.DISTILLATION, parent_version=PARENT, maximum_loss=MaximumLoss(0.01, 0.2)
    )
    assert spec_from_json(spec_to_json(given_spec)) == given_spec
    assert given_spec.relies_on == {"snapshot": given_spec.snapshot, "parent_version": PARENT}


@given(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_a_version_passes_exactly_when_it_loses_no_more_than_it_may(
    auc: float, log_loss: float, auc_lost: float, log_loss_lost: float
) -> None:
    found = {"auc": 0.8 - auc_lost, "log_loss": 0.5 + log_loss_lost}
    passes = (
        SCORES["auc"] - found["auc"] <= auc and found["log_loss"] - SCORES["log_loss"] <= log_loss
    )
    try:
        check_losses("mlp", found, SCORES, MaximumLoss(auc, log_loss))
    except NotAsGood:
        assert not passes
    else:
        assert passes


def test_a_refusal_tells_both_scores_and_the_limit() -> None:
    with pytest.raises(NotAsGood, match=r"auc 0\.7000 instead of 0\.8000.*at most 0\.05"):
        check_losses("mlp", {"auc": 0.7, "log_loss": 0.5}, SCORES, MaximumLoss(auc=0.05))


def test_fidelity_is_about_the_parents_answers_alone() -> None:
    parent = np.array([0.1, 0.4, 0.6, 0.9], dtype=np.float32)
    assert fidelity(parent, parent).agreement == 1.0
    found = fidelity(np.array([0.1, 0.6, 0.6, 0.7], dtype=np.float32), parent)
    assert (found.agreement, found.mean_difference, found.largest_difference) == pytest.approx(
        (0.75, 0.1, 0.2), abs=1e-6
    )
