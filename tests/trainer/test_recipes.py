"""What every algorithm owes: determinism, progress, and a graph that computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import EncodedRows
from services.trainer.adapters.learning.recipe import Encoding, FitTask
from services.trainer.adapters.learning.thresholds import rounded_down
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.cross_validation import folds_of
from services.trainer.core.failures import DataFault, ExportMismatch, NanLoss
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.spec import Candidate, JobSpec
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.fits import Interrupted, Recorder
from tests.support.trainer_values import spec, table

RECIPES = load_recipes()
ALGORITHMS = sorted(
    name
    for name, recipe in RECIPES.items()
    if Task.BINARY in recipe.ability.tasks
    and not (recipe.ability.reads_images or recipe.ability.reads_text)
)


def only_trial(job: JobSpec) -> Trial:
    """The trial of a job's only candidate."""
    (candidate,) = job.candidates
    rules = RECIPES[candidate.algorithm].rules
    return Trial("only", 0, candidate.algorithm, completed(candidate.parameters, rules))


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows to train on."""
    return table()


@pytest.fixture(scope="module")
def encoded(data: Table) -> EncodedRows:
    """Their train and validation parts."""
    split = split_by_time(data.event_time_us, SplitShares())
    return EncodedRows(data, split.train, split.validation)


def task(encoded: EncodedRows, algorithm: str, **changes: object) -> FitTask:
    recipe = RECIPES[algorithm]
    matrices = encoded.encoded(recipe.encoding)
    assert encoded.watch is not None
    return replace(
        FitTask(
            rows=matrices.fit,
            label=encoded.fit.label,
            watch_rows=matrices.watch,
            watch_label=encoded.watch.label,
            parameters=completed({}, recipe.rules),
            seed=3,
            cores=2,
            observer=Recorder(),
        ),
        **changes,  # type: ignore[arg-type]
    )


def test_the_algorithms_are_found() -> None:
    assert sorted(RECIPES) == [
        "cnn",
        "decision_tree",
        "lightgbm",
        "linear_regression",
        "logistic_regression",
        "mlp",
        "random_forest",
        "text_frozen",
        "text_full",
        "text_lora",
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_fit_learns_reports_and_repeats_to_the_last_bit(
    encoded: EncodedRows, algorithm: str
) -> None:
    recorders = [Recorder(), Recorder()]
    probabilities = []
    for recorder in recorders:
        mine = task(encoded, algorithm, observer=recorder)
        fitted = RECIPES[algorithm].fit(mine)
        probabilities.append(fitted.estimator.predict_proba(mine.watch_rows))
    assert np.array_equal(*probabilities)
    assert recorders[0].steps == recorders[1].steps
    assert recorders[0].steps[-1].metrics["auc"] > 0.65
    numbers = [step.number for step in recorders[0].steps]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_graph_agrees_in_every_row_also_with_unseen_and_missing_values(
    data: Table, encoded: EncodedRows, algorithm: str
) -> None:
    fitted = RECIPES[algorithm].fit(task(encoded, algorithm))
    encoder = encoded.encoded(RECIPES[algorithm].encoding).encoder
    RECIPES[algorithm].teach_export()
    graph = export_graph(encoder, fitted.estimator, data)
    model = GraphModel(graph, 1)
    assert check_parity(model, encoder, fitted.estimator, table(10_000, seed=5)) < 1e-5
    assert graph == export_graph(encoder, fitted.estimator, data)
    assert model.predicted(data.take(np.array([5]))).shape == (1,)


def test_a_graph_that_computes_something_else_is_refused(data: Table, encoded: EncodedRows) -> None:
    fitted = RECIPES["decision_tree"].fit(task(encoded, "decision_tree"))
    other = RECIPES["decision_tree"].fit(
        task(encoded, "decision_tree", parameters={"max_depth": 2, "min_leaf_rows": 100})
    )
    encoder = encoded.encoded(Encoding.ORDINAL).encoder
    graph = export_graph(encoder, other.estimator, data)
    with pytest.raises(ExportMismatch):
        check_parity(GraphModel(graph, 1), encoder, fitted.estimator, data)


@pytest.mark.parametrize("stop_after", [1, 3, 7])
def test_a_network_that_goes_on_from_a_checkpoint_is_the_one_that_never_stopped(
    encoded: EncodedRows, stop_after: int
) -> None:
    whole = Recorder()
    expected = RECIPES["mlp"].fit(task(encoded, "mlp", observer=whole))
    first = Recorder(stop_after=stop_after)
    with pytest.raises(Interrupted):
        RECIPES["mlp"].fit(task(encoded, "mlp", observer=first))
    np.random.default_rng().random()
    second = Recorder()
    resumed = RECIPES["mlp"].fit(
        task(encoded, "mlp", observer=second, resume_from=first.checkpoints[-1])
    )
    assert first.steps + second.steps == whole.steps
    assert first.checkpoints + second.checkpoints == whole.checkpoints
    assert resumed.refit_parameters == expected.refit_parameters
    for mine, theirs in zip(resumed.estimator.layers, expected.estimator.layers, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_network_that_was_done_before_it_stopped_keeps_the_order_of_its_layers(
    encoded: EncodedRows,
) -> None:
    whole = Recorder()
    expected = RECIPES["mlp"].fit(task(encoded, "mlp", observer=whole))
    # Nothing is left to learn; a file gives its tensors in another order each time.
    again = task(encoded, "mlp", observer=Recorder(), resume_from=whole.checkpoints[-1])
    for _ in range(20):
        resumed = RECIPES["mlp"].fit(again)
        for mine, theirs in zip(resumed.estimator.layers, expected.estimator.layers, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_loss_that_is_no_number_ends_the_fit(encoded: EncodedRows) -> None:
    mine = task(encoded, "mlp")
    with pytest.raises(NanLoss):
        RECIPES["mlp"].fit(replace(mine, rows=np.full_like(mine.rows, np.inf)))


@pytest.mark.parametrize("algorithm", ["lightgbm", "mlp"])
def test_what_the_watched_rows_settled_is_used_to_retrain(data: Table, algorithm: str) -> None:
    job = spec(algorithm)
    split = split_by_time(data.event_time_us, job.shares)
    bench = Workbench(job, RECIPES, data, split, cores=1)
    outcome = bench.run_trial(only_trial(job), Recorder(), None)
    recorder = Recorder()
    bench.retrain(outcome, recorder, None)
    settled = "rounds" if algorithm == "lightgbm" else "epochs"
    assert recorder.steps[-1].number == outcome.refit_parameters[settled]
    assert recorder.steps[-1].metrics == {}


def test_a_fold_is_fitted_with_its_preprocessing_on_the_rows_it_learns_from(data: Table) -> None:
    job = spec("mlp", cross_validation_folds=3)
    split = split_by_time(data.event_time_us, job.shares)
    chosen = completed({"epochs": 2}, RECIPES["mlp"].rules)
    trial = replace(only_trial(job), chosen_parameters=chosen)
    recorder = Recorder()
    found = Workbench(job, RECIPES, data, split, cores=1).run_fold(trial, 1, recorder)
    fold = folds_of(job, data, split)[1]
    assert (found.learn_rows, found.rows) == (len(fold.learn), len(fold.judge)) == (420, 210)
    assert [(step.number, step.metrics) for step in recorder.steps] == [(1, {}), (2, {})]
    assert set(found.metrics) >= {"auc", "log_loss"}
    # Rows that come later, those of the next fold included, change nothing.
    wind = data.numeric["wind"].copy()
    wind[np.setdiff1d(np.arange(len(data)), [*fold.learn, *fold.judge])] = 1e6
    other = Workbench(job, RECIPES, data.replaced({"wind": wind}), split, cores=1)
    assert other.run_fold(trial, 1, Recorder()) == found


def test_a_part_with_one_label_is_a_data_fault(data: Table) -> None:
    one_label = replace(data, label=np.zeros_like(data.label))
    job = spec()
    split = split_by_time(data.event_time_us, job.shares)
    with pytest.raises(DataFault):
        Workbench(job, RECIPES, one_label, split, cores=1)


def test_a_feature_without_any_value_can_be_trained_on_and_exported(data: Table) -> None:
    empty = data.replaced({"wind": np.full(len(data), np.nan, dtype=np.float32)})
    for algorithm in ("logistic_regression", "decision_tree"):
        job = spec(candidates=(Candidate(algorithm, {}),))
        split = split_by_time(empty.event_time_us, job.shares)
        bench = Workbench(job, RECIPES, empty, split, cores=1)
        model = bench.retrain(bench.run_trial(only_trial(job), Recorder(), None), Recorder(), None)
        graph = GraphModel(export_graph(model.encoder, model.estimator, empty), 1)
        assert check_parity(graph, model.encoder, model.estimator, data) < 1e-5


@given(
    st.floats(-(2**99), 2**99),
    st.floats(-(2**99), 2**99, width=32),
)
def test_a_threshold_rounded_down_splits_float32_as_before(threshold: float, value: float) -> None:
    (rounded,) = rounded_down(np.array([threshold]))
    assert rounded == np.float32(rounded)
    assert (value <= rounded) == (value <= threshold)
