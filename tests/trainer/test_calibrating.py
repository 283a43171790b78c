"""Calibrations that are fitted, and the graphs that hold them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from services.common import scoring
from services.trainer.adapters.export.calibrated import calibrated_graph, uncalibrated_graph
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.calibrating import Unseen, fit_calibration
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.calibration import Calibration, CalibrationMethod
from services.trainer.core.calibration_maps import STEEPEST, SigmoidMap
from services.trainer.core.failures import DataFault, NotBetter
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.spec import Candidate, JobSpec
from services.trainer.core.splits import Split, split_by_time
from services.trainer.core.tables import Table
from tests.support.trainer_values import spec, table

RECIPES = load_recipes()
FITTED = (CalibrationMethod.SIGMOID, CalibrationMethod.ISOTONIC)
OVERCONFIDENT = {
    "decision_tree": {"max_depth": 30, "min_leaf_rows": 5},
    "lightgbm": {
        "rounds": 20,
        "learning_rate": 1.0,
        "leaves": 64,
        "min_leaf_rows": 1,
        "l2": 0.0,
    },
    "logistic_regression": {},
    "mlp": {"epochs": 2},
    "random_forest": {"trees": 10, "max_depth": 30, "min_leaf_rows": 1, "row_share": 1.0},
}
"""Of each algorithm something quick, of most too sure of itself."""


def boasting(rows: int, seed: int = 0) -> Unseen:
    """Scores whose log odds are three times what they should be."""
    random = np.random.default_rng(seed)
    odds = random.normal(-0.5, 1.2, rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    return Unseen(label, 1 / (1 + np.exp(-3 * odds)))


class Ignored:
    """Hears of a fit."""

    def stepped(self, step: object) -> None:
        """Let it go on."""

    def save(self, checkpoint: object) -> None:
        """Let go of it."""


def fitted(method: CalibrationMethod, unseen: Unseen) -> Calibration:
    calibration = fit_calibration(method, unseen)
    assert calibration is not None
    return calibration


@pytest.mark.parametrize("method", FITTED)
def test_what_scores_promise_too_much_is_taken_back(method: CalibrationMethod) -> None:
    calibration = fitted(method, boasting(5000))
    assert calibration.rows == 5000
    assert fitted(method, boasting(5000)) == calibration
    later = boasting(20_000, seed=1)
    calibrated = calibration.map.of(later.probability)
    assert scoring.expected_calibration_error(later.label, later.probability) > 0.1
    assert scoring.expected_calibration_error(later.label, calibrated) < 0.025
    assert scoring.log_loss(later.label, calibrated) < scoring.log_loss(
        later.label, later.probability
    )
    assert scoring.auc(later.label, calibrated) == pytest.approx(
        scoring.auc(later.label, later.probability), abs=2e-3
    )


def test_scores_that_are_often_certain_get_no_steep_slope() -> None:
    unseen = boasting(5000)
    sure = np.where(np.abs(unseen.probability - 0.5) > 0.45, unseen.probability.round(), 0.5)
    found = fitted(CalibrationMethod.SIGMOID, Unseen(unseen.label, sure)).map
    assert isinstance(found, SigmoidMap)
    assert found.steepest <= STEEPEST
    calibrated = found.of(sure)
    assert len(np.unique(calibrated)) == 3
    assert scoring.expected_calibration_error(unseen.label, calibrated) < 0.03


def test_a_sigmoid_finds_the_stretch_of_the_log_odds() -> None:
    found = fitted(CalibrationMethod.SIGMOID, boasting(20_000)).map
    document = fitted(CalibrationMethod.SIGMOID, boasting(20_000)).to_json()
    assert isinstance(found, SigmoidMap)
    assert document["map"] == {
        "slope": found.slope,
        "intercept": found.intercept,
        "softening": found.softening,
    }
    assert found.slope == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("method", FITTED)
def test_scores_that_tell_the_opposite_are_not_calibrated(method: CalibrationMethod) -> None:
    unseen = boasting(2000)
    with pytest.raises(NotBetter):
        fit_calibration(method, Unseen(1 - unseen.label, unseen.probability))


def test_no_calibration_is_fitted_where_none_is_asked_for() -> None:
    assert fit_calibration(CalibrationMethod.NONE, boasting(10)) is None


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows enough for the needs of either method."""
    return table(8000)


def trained(data: Table, job: JobSpec) -> tuple[TrainedModel, Unseen, Split]:
    """The winner of a job with one candidate, calibrated as the job asks."""
    split = split_by_time(data.event_time_us, job.shares)
    bench = Workbench(job, RECIPES, data, split, cores=1)
    (candidate,) = job.candidates
    rules = RECIPES[candidate.algorithm].rules
    trial = Trial("only", 0, candidate.algorithm, completed(candidate.parameters, rules))
    outcome = bench.run_trial(trial, Ignored(), None)
    unseen = bench.unseen(outcome, Ignored())
    model = bench.retrain(outcome, Ignored(), None)
    return replace(model, calibration=fit_calibration(job.calibration, unseen)), unseen, split


def job_of(algorithm: str, **changes: object) -> JobSpec:
    return spec(candidates=(Candidate(algorithm, OVERCONFIDENT[algorithm]),), **changes)


@pytest.mark.parametrize("algorithm", sorted(OVERCONFIDENT))
def test_graphs_give_calibrated_probabilities_as_exactly_as_others(
    data: Table, algorithm: str
) -> None:
    job = job_of(algorithm, calibration=CalibrationMethod.SIGMOID)
    model, unseen, split = trained(data, job)
    RECIPES[algorithm].teach_export()
    bare = export_graph(model.encoder, model.estimator, data)
    test = data.take(split.test)
    raw = GraphModel(bare, 1).predicted(test)
    for method in FITTED:
        calibrated = replace(model, calibration=fitted(method, unseen))
        assert calibrated.calibration is not None
        graph = calibrated_graph(bare, calibrated.calibration.map)
        onnx.checker.check_model(onnx.ModelProto.FromString(graph), full_check=True)
        runtime = GraphModel(graph, 1)
        rows = table(4000, seed=5)
        assert check_parity(runtime, model.encoder, calibrated.calibrated, rows) < 1e-5
        assert uncalibrated_graph(graph) == bare
        probability = runtime.predicted(test)
        if method is CalibrationMethod.SIGMOID:
            assert scoring.auc(test.label, probability) == pytest.approx(
                scoring.auc(test.label, raw), abs=1e-6
            )
    assert uncalibrated_graph(bare) is None


@pytest.mark.parametrize("method", FITTED)
def test_the_label_of_a_calibrated_graph_is_the_likelier_one(
    data: Table, method: CalibrationMethod
) -> None:
    model, unseen, _ = trained(data, job_of("decision_tree"))
    bare = export_graph(model.encoder, model.estimator, data)
    session = onnxruntime.InferenceSession(calibrated_graph(bare, fitted(method, unseen).map))
    rows = table(500, seed=9)
    columns = {name: column.reshape(-1, 1) for name, column in rows.features.items()}
    label, probabilities = session.run(["label", "probabilities"], columns)
    assert (label.dtype, label.shape) == (np.int64, (500,))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (500, 2))
    assert np.array_equal(label, probabilities.argmax(axis=1))
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert set(label.tolist()) == {0, 1}


@pytest.mark.parametrize("folds", [0, 2])
def test_nothing_is_learned_from_the_test_part_and_each_row_is_judged_unseen(
    data: Table, folds: int
) -> None:
    job = job_of("decision_tree", cross_validation_folds=folds)
    _, unseen, split = trained(data, job)
    # By time the first of the blocks judges nothing.
    judged = len(split.validation) + len(split.train) * folds // (folds + 1)
    assert len(unseen.label) == pytest.approx(judged, abs=1)
    assert scoring.auc(unseen.label, unseen.probability) < 0.95
    wind = data.numeric["wind"].copy()
    wind[split.test] = 1e6
    label = data.label.copy()
    label[split.test] = 1 - label[split.test]
    _, other, _ = trained(replace(data.replaced({"wind": wind}), label=label), job)
    assert np.array_equal(other.probability, unseen.probability)
    assert np.array_equal(other.label, unseen.label)


def test_too_few_rows_stop_a_job_before_anything_is_trained() -> None:
    few = table(1200)
    job = job_of("decision_tree", calibration=CalibrationMethod.ISOTONIC)
    split = split_by_time(few.event_time_us, job.shares)
    with pytest.raises(DataFault, match="CALIBRATION_ISOTONIC needs 1000 rows"):
        Workbench(job, RECIPES, few, split, cores=1)
    with_folds = replace(job, cross_validation_folds=10)
    with pytest.raises(DataFault, match="have 943"):
        Workbench(with_folds, RECIPES, few, split, cores=1)
