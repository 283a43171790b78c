"""Calibrations of more than two classes: maps, fits, graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.adapters.export.calibrated import calibrated_graph, uncalibrated_graph
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.calibrating import Unseen, fit_calibration
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.calibration import (
    CalibrationMethod,
    check_rows,
    soft_class_targets,
    soft_targets,
    softmax_map,
)
from services.trainer.core.calibration_maps import (
    SOFTENINGS,
    STEEPEST,
    OneVsRestMap,
    SigmoidMap,
    SoftmaxMap,
)
from services.trainer.core.failures import DataFault, NotBetter
from services.trainer.core.jobs import Trial
from services.trainer.core.multiclass import score_classes
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from tests.support.class_values import CLASSES, class_spec, class_table
from tests.support.fits import Recorder
from tests.trainer.test_calibrating import OVERCONFIDENT

RECIPES = load_recipes()
FITTED = (CalibrationMethod.SIGMOID, CalibrationMethod.ISOTONIC)
SLOPES, SHIFTS = st.floats(0.05, 3), st.lists(st.floats(-2, 2), min_size=1, max_size=5)


def boasting(rows: int, seed: int = 0) -> Unseen:
    """Probabilities of four classes whose logits are three times what they should be."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (rows, len(CLASSES))) + np.array([0, 0.5, -0.5, 1])
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (honest.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    told = honest**3 / (honest**3).sum(axis=1, keepdims=True)
    return Unseen(np.minimum(label, len(CLASSES) - 1), told, CLASSES)


def scored(unseen: Unseen, told: np.ndarray) -> dict[str, float]:
    return dict(score_classes(unseen.label, told, CLASSES).values)


@given(SLOPES, st.floats(-3, 3), st.sampled_from(SOFTENINGS), st.integers(0, 99))
def test_of_two_classes_it_is_the_sigmoid(
    slope: float, shift: float, softening: float, seed: int
) -> None:
    positive = np.random.default_rng(seed).random(20)
    both = SoftmaxMap(slope, (0.0, shift), softening).of(np.column_stack([1 - positive, positive]))
    assert both[:, 1] == pytest.approx(SigmoidMap(slope, shift, softening).of(positive), abs=1e-9)


@given(SLOPES, SHIFTS, st.sampled_from(SOFTENINGS), st.integers(0, 99))
def test_what_classes_are_worth_sums_to_one_and_changes_no_faster_than_is_told(
    slope: float, shifts: list[float], softening: float, seed: int
) -> None:
    found = SoftmaxMap(slope, (0.0, *shifts), softening)
    random = np.random.default_rng(seed)
    told = random.dirichlet(np.full(len(shifts) + 1, 0.2), 200)
    worth = found.of(told)
    assert worth.sum(axis=1) == pytest.approx(np.ones(200))
    assert worth.min() > 0
    step = 1e-7
    for place in range(len(shifts) + 1):
        nudged = told.copy()
        nudged[:, place] += step
        change = np.abs(found.of(nudged)[:, place] - worth[:, place]) / step
        assert change.max() <= found.steepest * 1.01 + 1e-6


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60))
def test_the_soft_targets_of_two_classes_are_those_of_label_1(labels: list[int]) -> None:
    label = np.array(labels)
    both = soft_class_targets(label, 2)
    assert both[:, 1] == pytest.approx(soft_targets(label))
    assert both.sum(axis=1) == pytest.approx(np.ones(len(label)))


@pytest.mark.parametrize("method", FITTED)
def test_what_probabilities_promise_too_much_is_taken_back(method: CalibrationMethod) -> None:
    calibration = fit_calibration(method, boasting(5000))
    assert calibration is not None
    assert calibration == fit_calibration(method, boasting(5000))
    later = boasting(20_000, seed=1)
    before, after = (
        scored(later, told) for told in (later.probability, calibration.map.of(later.probability))
    )
    assert before["calibration_error"] > 0.1
    assert after["calibration_error"] < 0.025
    assert after["log_loss"] < before["log_loss"] - 0.05
    assert after["balanced_accuracy"] == pytest.approx(before["balanced_accuracy"], abs=0.02)
    if isinstance(calibration.map, SoftmaxMap):
        assert 0.25 < calibration.map.slope < 0.5
        assert calibration.map.steepest <= STEEPEST
        assert set(calibration.to_json()["map"]) == {"slope", "shifts", "softening"}


@pytest.mark.parametrize("method", FITTED)
def test_probabilities_that_tell_the_opposite_are_not_calibrated(
    method: CalibrationMethod,
) -> None:
    unseen = boasting(2000)
    opposite = (1 - unseen.probability) / (len(CLASSES) - 1)
    with pytest.raises(NotBetter, match="does not go with more of"):
        fit_calibration(method, replace(unseen, probability=opposite))


def test_probabilities_are_softened_as_far_as_it_takes() -> None:
    told = np.eye(3)
    assert softmax_map(told, lambda _: (1.0, (0.0, 0.0, 0.0))).softening == SOFTENINGS[0]
    assert softmax_map(told, lambda _: (0.3, (0.0, 0.0, 0.0))).softening > SOFTENINGS[0]
    assert softmax_map(told, lambda _: (90.0, (0.0, 0.0, 0.0))).softening == SOFTENINGS[-1]


def test_a_class_with_too_few_rows_is_named() -> None:
    label = np.repeat([0, 1, 2, 3], [400, 400, 12, 400])
    with pytest.raises(DataFault, match="12 of label late"):
        check_rows(CalibrationMethod.SIGMOID, label, CLASSES)
    check_rows(CalibrationMethod.SIGMOID, np.repeat([0, 1, 2, 3], 50), CLASSES)


@pytest.mark.parametrize("algorithm", sorted(OVERCONFIDENT))
def test_graphs_give_calibrated_classes_as_exactly_as_others(algorithm: str) -> None:
    data = class_table(2400)
    job = class_spec(algorithm, calibration=CalibrationMethod.SIGMOID, cross_validation_folds=3)
    split = parted(job, data)
    bench = Workbench(job, RECIPES, data, split, cores=1)
    rules = RECIPES[algorithm].rules
    trial = Trial("only", 0, algorithm, completed(OVERCONFIDENT[algorithm], rules))
    outcome = bench.run_trial(trial, Recorder(), None)
    unseen = bench.unseen(outcome, Recorder())
    model = bench.retrain(outcome, Recorder(), None)
    RECIPES[algorithm].teach_export()
    bare = export_graph(model.encoder, model.estimator, data)
    rows = class_table(2000, seed=5)
    for method in FITTED:
        calibration = fit_calibration(method, unseen)
        assert calibration is not None
        calibrated = replace(model, calibration=calibration)
        graph = calibrated_graph(bare, calibration.map)
        onnx.checker.check_model(onnx.ModelProto.FromString(graph), full_check=True)
        assert check_parity(GraphModel(graph, 1), model.encoder, calibrated.calibrated, rows) < 1e-5
        assert uncalibrated_graph(graph) == bare
        session = onnxruntime.InferenceSession(graph)
        columns = {name: column.reshape(-1, 1) for name, column in rows.features.items()}
        label, probabilities = session.run(["label", "probabilities"], columns)
        assert np.array_equal(label, probabilities.argmax(axis=1))
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert isinstance(calibration.map, OneVsRestMap)


def test_the_reliability_is_that_of_the_class_that_is_told() -> None:
    unseen = boasting(3000)
    found = score_classes(unseen.label, unseen.probability, CLASSES)
    assert sum(each.rows for each in found.reliability) == 3000
    distance = sum(each.rows * abs(each.mean_score - each.frequency) for each in found.reliability)
    assert distance / 3000 == pytest.approx(found.values["calibration_error"])
