"""What a version may lose against its parent, and what a spec may ask of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.failures import NotAsGood
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.parents import (
    MaximumLoss,
    Mode,
    check_losses,
    fidelity,
    loses_little,
)
from services.trainer.core.spec import JobSpec, spec_from_json, spec_to_json
from services.trainer.core.tasks import Task
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


@pytest.mark.parametrize(
    ("task", "maximum", "faulty"),
    [
        (Task.BINARY, MaximumLoss(auc=0.1, log_loss=0.1), []),
        (Task.BINARY, MaximumLoss(rmse=0.1), ["rmse"]),
        (Task.MULTICLASS, MaximumLoss(balanced_accuracy=0.1, log_loss=0.1), []),
        (Task.MULTICLASS, MaximumLoss(auc=0.1), ["auc"]),
        (Task.REGRESSION, MaximumLoss(rmse=0.1, mae=0.1), []),
        (Task.REGRESSION, MaximumLoss(log_loss=0.1, mae=0.1), ["log_loss"]),
    ],
)
def test_a_maximum_loss_is_told_in_the_metrics_of_the_task(
    task: Task, maximum: MaximumLoss, faulty: list[str]
) -> None:
    job = spec("mlp", mode=Mode.WARM_START, parent_version=PARENT, task=task, maximum_loss=maximum)
    modes = {"mlp": frozenset(Mode)}
    found = [fault.field for fault in mode_faults(job, modes, "spec")]
    assert found == [f"spec.maximum_loss.{name}" for name in faulty]


@given(st.floats(0.001, 1000), st.floats(-0.5, 0.5), st.floats(0, 0.5))
def test_losses_of_quantities_are_parts_whatever_the_unit(
    unit: float, worse: float, most: float
) -> None:
    parent = {"rmse": 4 * unit, "mae": 3 * unit}
    found = {"rmse": 4 * unit * (1 + worse), "mae": 3 * unit}
    little = loses_little(found, parent, MaximumLoss(rmse=most), Task.REGRESSION)
    assert little == (worse <= most) or abs(worse - most) < 1e-9


def test_a_parent_without_an_error_may_be_equalled_alone() -> None:
    exact, maximum = {"rmse": 0.0, "mae": 0.0}, MaximumLoss(rmse=9, mae=9)
    assert loses_little(exact, exact, maximum, Task.REGRESSION)
    assert not loses_little({**exact, "mae": 0.1}, exact, maximum, Task.REGRESSION)


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
        check_losses("mlp", found, SCORES, maximum=MaximumLoss(auc, log_loss), task=Task.BINARY)
    except NotAsGood:
        assert not passes
    else:
        assert passes


def test_a_refusal_tells_both_scores_and_the_limit() -> None:
    with pytest.raises(NotAsGood, match=r"auc 0\.7000 instead of 0\.8000.*at most 0\.05"):
        check_losses(
            "mlp",
            {"auc": 0.7, "log_loss": 0.5},
            SCORES,
            maximum=MaximumLoss(auc=0.05),
            task=Task.BINARY,
        )


def test_fidelity_is_about_the_parents_answers_alone() -> None:
    parent = np.array([0.1, 0.4, 0.6, 0.9], dtype=np.float32)
    assert fidelity(parent, parent, Task.BINARY).agreement == 1.0
    found = fidelity(np.array([0.1, 0.6, 0.6, 0.7], dtype=np.float32), parent, Task.BINARY)
    assert (found.agreement, found.mean_difference, found.largest_difference) == pytest.approx(
        (0.75, 0.1, 0.2), abs=1e-6
    )


def test_fidelity_of_classes_is_about_the_likeliest_one_and_the_probability_that_differs_most() -> (
    None
):
    parent = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], dtype=np.float32)
    other = np.array([[0.6, 0.1, 0.3], [0.2, 0.3, 0.5]], dtype=np.float32)
    found = fidelity(other, parent, Task.MULTICLASS)
    assert found.values == pytest.approx(
        {"agreement": 0.5, "mean_difference": 0.2, "largest_difference": 0.2}, abs=1e-6
    )
    assert "the same label in 50.0%" in str(found)


def test_fidelity_of_quantities_is_in_their_unit_and_knows_no_label() -> None:
    parent = np.array([10.0, 20.0], dtype=np.float32)
    found = fidelity(np.array([10.0, 26.0], dtype=np.float32), parent, Task.REGRESSION)
    assert found.values == {"mean_difference": 3.0, "largest_difference": 6.0}
    assert str(found) == "predictions 3.0000 apart on average, 6.0000 at most"
