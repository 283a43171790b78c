"""More than two classes: every tabular algorithm, from rows to a graph that computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from services.trainer.adapters.export.bundle import signature
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.auditing import suspects
from services.trainer.adapters.learning.labels import labels_of
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.failures import DataFault
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import SplitMethod, SplitShares, split_by_time
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.class_values import CLASSES, class_rows, class_spec, class_table
from tests.support.fits import Interrupted, Recorder
from tests.support.trainer_values import parquet_of

RECIPES = load_recipes()
ALGORITHMS = sorted(
    name
    for name, recipe in RECIPES.items()
    if Task.MULTICLASS in recipe.ability.tasks
    and not (recipe.ability.reads_images or recipe.ability.reads_text)
)


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows to train on."""
    return class_table()


def bench_of(job: JobSpec, data: Table) -> Workbench:
    return Workbench(job, RECIPES, data, parted(job, data), cores=1)


def trial_of(algorithm: str) -> Trial:
    few_rows = {"batch_rows": 64.0} if algorithm == "mlp" else {}
    return Trial("only", 0, algorithm, completed(few_rows, RECIPES[algorithm].rules))


def test_each_tabular_classifier_does_many_classes() -> None:
    assert ALGORITHMS == [
        "decision_tree",
        "lightgbm",
        "logistic_regression",
        "mlp",
        "random_forest",
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trial_learns_repeats_and_its_graph_agrees_also_with_unseen_and_missing_values(
    data: Table, algorithm: str
) -> None:
    job = class_spec(algorithm)
    bench, recorder = bench_of(job, data), Recorder()
    outcome = bench.run_trial(trial_of(algorithm), recorder, None)
    assert outcome == bench_of(job, data).run_trial(trial_of(algorithm), Recorder(), None)
    assert set(recorder.steps[-1].metrics) == {"log_loss", "macro_f1", "balanced_accuracy"}
    assert outcome.metrics["balanced_accuracy"] > 0.3
    assert outcome.gains["balanced_accuracy"].low > 0
    assert outcome.gains["log_loss"].low > 0
    model = bench.retrain(outcome, Recorder(), None)
    RECIPES[algorithm].teach_export()
    graph = export_graph(model.encoder, model.estimator, data)
    assert graph == export_graph(model.encoder, model.estimator, data)
    runtime = GraphModel(graph, 1)
    rows = class_table(10_000, seed=5)
    assert check_parity(runtime, model.encoder, model.estimator, rows) < 1e-5
    told = runtime.predicted(rows)
    assert told.shape == (10_000, len(CLASSES))
    assert np.allclose(told.sum(axis=1), 1, atol=1e-5)


def test_folds_are_judged_by_the_same_metrics(data: Table) -> None:
    job = class_spec(cross_validation_folds=3, split_method=SplitMethod.STRATIFIED)
    trial = replace(
        trial_of("decision_tree"), chosen_parameters=trial_of("decision_tree").parameters
    )
    found = bench_of(job, data).run_fold(trial, 1, Recorder())
    assert set(found.metrics) >= {"log_loss", "macro_f1", "balanced_accuracy", "worst_recall"}
    assert not any("." in name for name in found.metrics)


def test_a_network_of_many_classes_goes_on_from_a_checkpoint_to_the_same_bits(data: Table) -> None:
    bench = bench_of(class_spec("mlp"), data)
    whole, first, second = Recorder(), Recorder(stop_after=3), Recorder()
    expected = bench.run_trial(trial_of("mlp"), whole, None)
    with pytest.raises(Interrupted):
        bench.run_trial(trial_of("mlp"), first, None)
    resumed = bench.run_trial(trial_of("mlp"), second, first.checkpoints[-1])
    assert resumed == expected
    assert first.checkpoints + second.checkpoints == whole.checkpoints


def test_the_signature_names_the_classes_in_the_order_of_the_probabilities(data: Table) -> None:
    assert signature(data)["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [-1, 4],
            "classes": ["cancelled", "early", "late", "on time"],
        },
    ]


def test_numbers_are_classes_in_their_order_and_words_in_the_alphabets() -> None:
    label, names = labels_of(pa.chunked_array([[10, 9, -1, 9]]), "kind", Task.MULTICLASS)
    assert (label.tolist(), names) == ([2, 1, 0, 1], ("-1", "9", "10"))
    label, names = labels_of(pa.chunked_array([["b", "a", "c"]]), "kind", Task.MULTICLASS)
    assert (label.tolist(), names) == ([1, 0, 2], ("a", "b", "c"))


def test_the_classes_of_a_version_keep_their_numbers_on_other_rows() -> None:
    column = pa.chunked_array([["late", "late"]])
    label, names = labels_of(column, "fate", Task.MULTICLASS, CLASSES)
    assert (label.tolist(), names) == ([2, 2], CLASSES)
    with pytest.raises(DataFault, match="label lost, which the version doesn't know"):
        labels_of(pa.chunked_array([["lost"]]), "fate", Task.MULTICLASS, CLASSES)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0, 1, 0], "has 2 classes"),
        (list(range(51)), "has 51 classes; at most 50"),
        (["a", "b", ""], "missing in 1 rows"),
        (["a", "b", None], "missing in 1 rows"),
        (["a", "b", "c" * 65], "65 characters"),
        ([0.5, 1.5, 2.5], "words or whole numbers"),
    ],
)
def test_a_target_that_has_no_good_classes_is_a_data_fault(values: list[object], why: str) -> None:
    with pytest.raises(DataFault, match=why):
        labels_of(pa.chunked_array([values]), "kind", Task.MULTICLASS)


def test_more_than_two_classes_of_a_binary_job_are_told_what_to_ask_for() -> None:
    rows = class_rows(100).drop_columns("fate").append_column("late", pa.array([0, 1, 2, 2] * 25))
    with pytest.raises(DataFault, match="TASK_MULTICLASS_CLASSIFICATION"):
        load_table([parquet_of(rows)], class_spec(target="late", task=Task.BINARY))


def test_a_class_that_the_train_part_lacks_is_named(data: Table) -> None:
    rows = np.arange(len(data))
    label = np.where((data.label == 2) & (rows < 1000), 0, data.label)
    with pytest.raises(DataFault, match="the train part has no row with label late"):
        bench_of(class_spec(), replace(data, label=label))


def test_planted_wrong_labels_of_many_classes_are_found(data: Table) -> None:
    sure = class_table(4000)
    clean = replace(sure, label=np.digitize(sure.numeric["distance"], (700, 900, 1100)))
    far = np.flatnonzero(np.abs(sure.numeric["distance"] - 800) < 50)[:30]
    label = clean.label.copy()
    label[far] = 3
    split = split_by_time(sure.event_time_us, SplitShares())
    known = set(far.tolist()) & set(split.fit.tolist())
    found = suspects(replace(clean, label=label), split, seed=1)
    assert len(known & found.keys()) >= 0.6 * len(known)
    assert len(found.keys() - known) <= 0.1 * len(known)
