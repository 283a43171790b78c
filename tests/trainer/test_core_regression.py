"""Quantities: what is measured of predictions, gains, and what a spec may ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from services.trainer.core.alone import alone_r2
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.data_report import Kind, data_report
from services.trainer.core.failures import NotBetter
from services.trainer.core.fairness import Fairness
from services.trainer.core.gains import MOST_CELLS, MinimumGain, check_gains, quantity_gains
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.objectives import objective_of
from services.trainer.core.parents import Mode
from services.trainer.core.regression import TargetScale, score_quantities
from services.trainer.core.robustness import Robustness
from services.trainer.core.selection import TrialOutcome, beats_baseline, best_trial
from services.trainer.core.spec import JobSpec, spec_from_json, spec_to_json
from services.trainer.core.splits import SplitMethod, SplitShares, split_by_time
from services.trainer.core.tasks import Metric, Task
from services.trainer.core.validation import schema_faults, spec_faults
from tests.support.quantity_values import quantity_spec, quantity_table

QUANTITIES = st.lists(
    st.tuples(*[st.integers(-(10**7), 10**7).map(lambda whole: whole / 8)] * 2),
    min_size=2,
    max_size=60,
)


@given(QUANTITIES)
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    target, told = np.array(pairs).T
    values = score_quantities(target, told).values
    expected = {
        "rmse": sklearn_metrics.root_mean_squared_error(target, told),
        "mae": sklearn_metrics.mean_absolute_error(target, told),
        "median_absolute_error": sklearn_metrics.median_absolute_error(target, told),
    }
    if np.ptp(target):
        expected["r2"] = sklearn_metrics.r2_score(target, told)
    assert values == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_rows_of_one_value_have_no_r2_and_an_error_all_the_same() -> None:
    # The mean of thirty times 0.1 is not quite 0.1.
    found = score_quantities(np.full(30, 0.1), np.full(30, 1.6))
    assert found.values["mae"] == 1.5
    assert "r2" not in found.values
    assert "r2" not in found.standard_errors


@pytest.mark.parametrize("name", ["rmse", "mae", "median_absolute_error", "r2"])
def test_standard_errors_are_the_spread_of_repeated_tests(name: str) -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(300):
        target = random.normal(20, 4, 500)
        found.append(score_quantities(target, target + random.laplace(1, 2, 500)))
    spread = np.std([each.values[name] for each in found])
    told = np.mean([each.standard_errors[name] for each in found])
    assert told == pytest.approx(spread, rel=0.15)


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e6))
def test_a_scale_is_undone_to_the_last_digits(mean: float, deviation: float) -> None:
    target = mean + deviation * np.array([-2.0, 0.0, 0.5, 3.0])
    scale = TargetScale.of(target)
    learned = scale.scaled(target)
    assert np.abs(learned.mean()) < 1e-3
    assert scale.restored(learned) == pytest.approx(target, rel=1e-12, abs=1e-9 * deviation)


def noisy(rows: int, seed: int = 1, *, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    told = random.normal(100, 2, rows)
    return told + random.normal(0, noise, rows), told


def test_nineteen_intervals_of_twenty_hold_the_gain() -> None:
    held = {"rmse": 0, "r2": 0}
    for seed in range(100):
        target, told = noisy(200, seed)
        found = quantity_gains(target, told, np.full(200, 100.0), seed)
        held["rmse"] += found["rmse"].low < 1 - np.sqrt(1 / 5) < found["rmse"].high
        held["r2"] += found["r2"].low < 4 / 5 < found["r2"].high
    assert min(held.values()) >= 88
    assert found == quantity_gains(target, told, np.full(200, 100.0), seed)


def test_groups_of_many_rows_tell_intervals_as_wide_as_the_plain_bootstrap() -> None:
    target, told = noisy(MOST_CELLS)
    few = quantity_gains(target, told, np.full(MOST_CELLS, target.mean()), seed=3)["rmse"]
    again = [np.concatenate([each] * 4) for each in (target, told)]
    many = quantity_gains(*again, np.full(4 * MOST_CELLS, target.mean()), seed=3)["rmse"]
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.15)


def test_noise_is_no_gain_and_a_minimum_stops_it() -> None:
    target, _ = noisy(400)
    noise = np.random.default_rng(9).normal(100, 0.5, 400)
    found = quantity_gains(target, noise, np.full(400, target.mean()), seed=3)
    with pytest.raises(NotBetter, match=r"rmse .*must stay above 0"):
        check_gains("mlp", found, MinimumGain())
    target, told = noisy(400)
    found = quantity_gains(target, told, np.full(400, target.mean()), seed=3)
    check_gains("mlp", found, MinimumGain(rmse=0.4, r2=0.6))
    with pytest.raises(NotBetter):
        check_gains("mlp", found, MinimumGain(rmse=0.4, r2=0.9))


def test_the_baseline_tells_the_mean_of_the_fitted_rows_and_beats_no_model() -> None:
    objective = objective_of(Task.REGRESSION)
    target, told = noisy(400)
    constant = objective.baseline(np.array([90.0, 110.0, 130.0]), 400)
    assert set(constant.tolist()) == {110.0}
    mine, theirs = objective.score(target, told), objective.score(target, constant)
    assert theirs.values["r2"] < 0
    assert beats_baseline(mine.values, theirs.values, Task.REGRESSION)
    assert not beats_baseline(theirs.values, theirs.values, Task.REGRESSION)


@pytest.mark.parametrize(
    ("metric", "best"), [("rmse", 0), ("mae", 1), ("median_absolute_error", 1), ("r2", 0)]
)
def test_errors_are_better_when_lower_and_r2_when_higher(metric: str, best: int) -> None:
    scores = [
        {"rmse": 4.0, "mae": 3.0, "median_absolute_error": 2.0, "r2": 0.5},
        {"rmse": 5.0, "mae": 2.0, "median_absolute_error": 1.0, "r2": 0.2},
    ]
    trials = [TrialOutcome(index, "mlp", metrics, {}) for index, metrics in enumerate(scores)]
    assert best_trial(trials, Metric(metric)).index == best


def fields(job: JobSpec) -> list[str]:
    return [fault.field.removeprefix("training_job.spec.") for fault in spec_faults(job, {})]


def test_what_is_for_classes_is_refused_by_field() -> None:
    job = quantity_spec(candidates=())
    assert fields(job) == []
    assert fields(replace(job, split_method=SplitMethod.STRATIFIED)) == ["split.method"]
    assert fields(replace(job, calibration=CalibrationMethod.SIGMOID)) == ["calibration"]
    assert fields(replace(job, metric="auc")) == ["metric"]
    assert fields(replace(job, minimum_gain=MinimumGain(log_loss=0.1))) == ["minimum_gain.log_loss"]
    assert fields(replace(job, minimum_gain=MinimumGain(rmse=0.1, r2=0.1))) == []
    assert fields(replace(job, robustness=Robustness(maximum_fall={"noise": 0.1}))) == []
    decided = replace(job, robustness=Robustness(maximum_flipped={"noise": 0.1}))
    assert fields(decided) == ["robustness.maximum_flipped"]
    assert fields(replace(job, fairness=Fairness(("origin",)))) == ["fairness"]
    binary = replace(job, task=Task.BINARY, metric="auc", minimum_gain=MinimumGain(rmse=0.1))
    assert fields(binary) == ["minimum_gain.rmse"]
    pruned = replace(job, mode=Mode.PRUNING, parent_version="projects/p/models/m/versions/1")
    (fault,) = mode_faults(pruned, {}, "spec")
    assert (fault.field, "quantise it" in fault.description) == ("spec.mode", True)


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("double", True),
        ("int64", True),
        ("decimal128(9, 2)", True),
        ("string", False),
        ("bool", False),
        ("timestamp[us]", False),
    ],
)
def test_a_target_is_a_column_of_numbers(kind: str, good: bool) -> None:
    columns = {"minutes": kind, "event_time": "timestamp[us]", "origin": "string"}
    columns |= {"distance": "float", "wind": "double", "carrier": "string"}
    faults = [fault.field for fault in schema_faults(quantity_spec(), columns)]
    assert faults == ([] if good else ["training_job.spec.target"])


def test_a_spec_that_asks_for_no_metric_is_picked_by_rmse_and_comes_back_from_json() -> None:
    job = quantity_spec("linear_regression", minimum_gain=MinimumGain(rmse=0.2))
    document = spec_to_json(job)
    assert spec_from_json(document) == job
    assert spec_from_json({**document, "metric": ""}).metric == "rmse"


def test_a_feature_that_is_the_target_in_disguise_stops_the_job() -> None:
    data = quantity_table(800)
    split = split_by_time(data.event_time_us, SplitShares())
    spread = replace(data, label=np.exp(data.label / 50))
    leak = {"distance": np.log1p(spread.label).astype(np.float32)}
    found = data_report(quantity_spec(), spread.replaced(leak), split, {})
    (finding,) = (each for each in found.findings if each.kind is Kind.LEAK)
    assert (finding.column, finding.stops) == ("distance", True)
    assert "R2 of ranks" in finding.text
    honest = data_report(quantity_spec(), data, split, {})
    assert not any(each.kind is Kind.LEAK for each in honest.findings)
    assert all(0 <= each.alone_r2 < 0.95 for each in honest.columns if each.alone_r2 is not None)


def test_an_identifier_tells_nothing_of_a_quantity_by_itself() -> None:
    target = np.random.default_rng(2).normal(0, 1, 1000)
    assert alone_r2(np.arange(1000), target) == pytest.approx(0, abs=0.01)
    assert alone_r2(np.arange(100), target[:100]) is None


def test_the_report_tells_mean_and_deviation_of_each_part_and_slice() -> None:
    data = quantity_table(800)
    split = split_by_time(data.event_time_us, SplitShares())
    doubled = data.take(np.concatenate([np.arange(800), [3]]))
    report = data_report(quantity_spec(), doubled, split, {})
    train = report.balance[0]
    assert (train.positive_rate, train.class_rows) == (None, {})
    assert train.mean == pytest.approx(data.label[split.train].mean())
    assert train.deviation == pytest.approx(data.label[split.train].std())
    assert {each.value for each in report.balance[2:]} == {"EWR", "JFK", "LGA"}
