"""Quantities: every tabular algorithm, from rows to a graph that computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pyarrow as pa
import pytest

from services.common.profiles import Profile
from services.trainer.adapters.export.bundle import profile, signature
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.auditing import suspects
from services.trainer.adapters.learning.labels import labels_of
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.constraints import P99, SIZE, Constraints
from services.trainer.core.failures import DataFault, ExportMismatch
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.privacy import Privacy
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import SplitMethod, split_by_time
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.fits import Interrupted, Recorder
from tests.support.quantity_values import (
    FEW_ROWS,
    diabetes_rows,
    diabetes_spec,
    quantity_spec,
    quantity_table,
)
from tests.support.trainer_values import parquet_of

RECIPES = load_recipes()
ALGORITHMS = sorted(FEW_ROWS)


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows to train on."""
    return quantity_table()


def bench_of(job: JobSpec, data: Table) -> Workbench:
    return Workbench(job, RECIPES, data, parted(job, data), cores=1)


def trial_of(job: JobSpec, index: int = 0) -> Trial:
    candidate = job.candidates[index]
    parameters = completed(candidate.parameters, RECIPES[candidate.algorithm].rules)
    return Trial("only", index, candidate.algorithm, parameters, chosen_parameters=parameters)


def test_each_tabular_algorithm_but_the_logistic_one_does_quantities() -> None:
    able = {name for name, recipe in RECIPES.items() if Task.REGRESSION in recipe.ability.tasks}
    assert sorted(able) == ALGORITHMS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trial_learns_repeats_and_its_graph_agrees_also_with_unseen_and_missing_values(
    data: Table, algorithm: str
) -> None:
    job = quantity_spec(algorithm)
    bench, recorder = bench_of(job, data), Recorder()
    outcome = bench.run_trial(trial_of(job), recorder, None)
    assert outcome == bench_of(job, data).run_trial(trial_of(job), Recorder(), None)
    assert set(recorder.steps[-1].metrics) == {"rmse", "mae", "r2", "median_absolute_error"}
    best = min(step.metrics["rmse"] for step in recorder.steps)
    assert outcome.metrics["rmse"] == pytest.approx(best, rel=0.02)
    assert outcome.metrics["r2"] > 0.5
    assert outcome.gains["rmse"].low > 0.2
    assert outcome.gains["r2"].low > 0.3
    model = bench.retrain(outcome, Recorder(), None)
    RECIPES[algorithm].teach_export()
    graph = export_graph(model.encoder, model.estimator, data, model.scale)
    assert graph == export_graph(model.encoder, model.estimator, data, model.scale)
    onnx.checker.check_model(graph, full_check=True)
    rows = quantity_table(10_000, seed=5)
    runtime = GraphModel(graph, 1)
    native = check_parity(runtime, model.encoder, model.estimator, rows, scale=model.scale)
    assert native < 1e-5
    told = runtime.predicted(rows)
    assert (told.shape, told.dtype) == ((10_000,), np.float32)
    assert runtime.predicted(rows.take(np.array([5]))).shape == (1,)
    assert 1 - np.mean((told - rows.label) ** 2) / np.var(rows.label) > 0.5


def told_by(data: Table, algorithm: str, factor: float, summand: float) -> np.ndarray:
    """What a model of the target in another unit tells, in the first one."""
    job = quantity_spec(algorithm)
    other = replace(data, label=data.label * factor + summand)
    bench = bench_of(job, other)
    outcome = bench.run_trial(trial_of(job), Recorder(), None)
    return (bench.retrain(outcome, Recorder(), None).predicted(other) - summand) / factor


@pytest.mark.parametrize("algorithm", ["decision_tree", "lightgbm", "linear_regression"])
def test_the_unit_of_a_target_changes_nothing_but_the_unit(data: Table, algorithm: str) -> None:
    seconds = told_by(data, algorithm, 60.0, 3e4)
    # Sums of other numbers have other last bits, of which a split may make more.
    assert np.quantile(np.abs(seconds - told_by(data, algorithm, 1.0, 0.0)), 0.95) < 0.1


def test_the_scale_is_that_of_the_fitted_rows_alone(data: Table) -> None:
    job = quantity_spec("linear_regression")
    split = parted(job, data)
    test = data.label.copy()
    test[split.test] *= 1000
    models = []
    for label in (data.label, test):
        bench = Workbench(job, RECIPES, replace(data, label=label), split, cores=1)
        winner = TrialOutcome(0, "linear_regression", {}, {"l2": 1.0})
        models.append(bench.retrain(winner, Recorder(), None))
    assert models[0].scale == models[1].scale
    assert models[0].scale is not None
    assert models[0].scale.mean == pytest.approx(data.label[split.fit].mean())


def test_folds_are_judged_by_the_same_metrics(data: Table) -> None:
    job = quantity_spec(
        "lightgbm", cross_validation_folds=3, split_method=SplitMethod.RANDOM, metric="mae"
    )
    found = bench_of(job, data).run_fold(trial_of(job), 1, Recorder())
    assert set(found.metrics) == {"rmse", "mae", "r2", "median_absolute_error"}
    assert found.metrics["r2"] > 0.5


def test_a_trial_of_a_constrained_job_tells_what_it_costs_to_serve(data: Table) -> None:
    job = quantity_spec("linear_regression", constraints=Constraints(max_graph_bytes=100_000))
    metrics = bench_of(job, data).run_trial(trial_of(job), Recorder(), None).metrics
    assert 0 < metrics[SIZE] < 100_000
    assert metrics[P99] > 0


@pytest.mark.real
def test_a_private_network_learns_quantities_too(data: Table) -> None:
    job = quantity_spec("mlp", privacy=Privacy(50.0, 1e-5, 1.0))
    outcome = bench_of(job, data).run_trial(trial_of(job), Recorder(), None)
    assert outcome.gains["rmse"].low > 0


def test_a_network_of_quantities_goes_on_from_a_checkpoint_to_the_same_bits(data: Table) -> None:
    job = quantity_spec("mlp")
    bench = bench_of(job, data)
    whole, first, second = Recorder(), Recorder(stop_after=3), Recorder()
    expected = bench.run_trial(trial_of(job), whole, None)
    with pytest.raises(Interrupted):
        bench.run_trial(trial_of(job), first, None)
    resumed = bench.run_trial(trial_of(job), second, first.checkpoints[-1])
    assert resumed == expected
    assert first.steps + second.steps == whole.steps


def test_a_graph_that_tells_other_quantities_is_refused(data: Table) -> None:
    job = quantity_spec("linear_regression")
    bench = bench_of(job, data)
    winner = TrialOutcome(0, "linear_regression", {}, {"l2": 1.0})
    model = bench.retrain(winner, Recorder(), None)
    assert model.scale is not None
    off = replace(model.scale, mean=model.scale.mean * 1.001)
    graph = export_graph(model.encoder, model.estimator, data, off)
    with pytest.raises(ExportMismatch):
        check_parity(GraphModel(graph, 1), model.encoder, model.estimator, data, scale=model.scale)


def test_the_signature_promises_one_quantity(data: Table) -> None:
    assert signature(data)["outputs"] == [
        {"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}
    ]


def test_the_profile_has_quantities_and_no_promise(data: Table) -> None:
    test = data.take(parted(quantity_spec(), data).test)
    written = profile(data, test, test.label.astype(np.float32))
    found = Profile.from_json(written)
    assert found.reliability is None
    assert found.score.sketch.bins.edges[0] > 100
    assert found.label.sketch.bins.edges[-1] == pytest.approx(data.label.max())
    assert found.held_out is not None
    in_time = np.argsort(test.event_time_us, kind="stable")
    kept = np.linspace(0, len(test) - 1, found.held_out.scores.size).astype(int)
    assert found.held_out.scores.tolist() == test.label.astype(np.float32)[in_time][kept].tolist()


def test_no_label_of_a_quantity_is_suspected(data: Table) -> None:
    assert suspects(data, parted(quantity_spec(), data), seed=1) == {}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, float("nan"), 2.0], "target minutes is not a number \\(NaN\\) in 1 rows"),
        ([1.0, float("inf"), float("-inf")], "target minutes is infinite in 2 rows"),
        ([1.0, 2e15], "target minutes has values beyond 1e\\+15"),
        ([1.0, None], "target minutes is missing in 1 rows"),
        (["a", "b"], "target minutes has type string"),
    ],
)
def test_a_target_that_is_no_quantity_is_a_data_fault(values: list[object], why: str) -> None:
    with pytest.raises(DataFault, match=why):
        labels_of(pa.chunked_array([values]), "minutes", Task.REGRESSION)


def test_whole_numbers_and_decimals_are_quantities() -> None:
    whole, names = labels_of(pa.chunked_array([[3, -1]]), "minutes", Task.REGRESSION)
    assert (whole.tolist(), whole.dtype, names) == ([3.0, -1.0], np.float64, ())
    exact = pa.chunked_array([pa.array(["1.5", "2"]).cast(pa.decimal128(9, 2))])
    assert labels_of(exact, "minutes", Task.REGRESSION)[0].tolist() == [1.5, 2.0]


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_target_that_never_changes_is_a_data_fault_that_names_it(data: Table, part: str) -> None:
    split = split_by_time(data.event_time_us, quantity_spec().shares)
    label = data.label.copy()
    label[getattr(split, part)] = 7.0
    with pytest.raises(DataFault, match=f"target has one value in every row of the {part} part"):
        bench_of(quantity_spec(), replace(data, label=label))


def test_patients_are_told_better_than_by_the_mean_by_far() -> None:
    job = diabetes_spec()
    table = load_table([parquet_of(diabetes_rows())], job)
    bench = bench_of(job, table)
    for index in range(len(job.candidates)):
        outcome = bench.run_trial(trial_of(job, index), Recorder(), None)
        assert outcome.gains["rmse"].low > 0.1
        assert outcome.metrics["r2"] > 0.25
