"""What students learn of teachers that tell classes or quantities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.parent import SURE, Parent
from services.trainer.adapters.learning.recipe import FitTask, weighted_rows
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode
from services.trainer.core.partition import parted
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.class_values import SIDE, class_spec, class_table, digit_spec, digit_table
from tests.support.fits import Recorder
from tests.support.quantity_values import FEW_ROWS, quantity_spec, quantity_table
from tests.support.text_values import reader, small_encoder, text_spec, text_table

RECIPES = load_recipes()
OF_CLASSES: dict[str, dict[str, float]] = {
    "decision_tree": {"min_leaf_rows": 20},
    "lightgbm": {"min_leaf_rows": 20, "rounds": 40},
    "logistic_regression": {},
    "mlp": {"batch_rows": 32, "epochs": 10, "learning_rate": 0.01},
    "random_forest": {"min_leaf_rows": 5},
}
DISTILLED = {"mode": Mode.DISTILLATION, "parent_version": "v"}


def distilled(
    job: JobSpec,
    data: Table,
    told: np.ndarray,
    *,
    parameters: dict[str, float],
    text: TextReader | None = None,
) -> tuple[TrialOutcome, TrainedModel]:
    """What the only candidate of a job makes of a teacher that tells `told`."""
    (candidate,) = job.candidates
    parent = Parent("v", "", b"", b"", told, data, None, job.task, data.classes)
    bench = Workbench(job, RECIPES, data, parted(job, data), cores=1, parent=parent, reader=text)
    rules = RECIPES[candidate.algorithm].rules
    trial = Trial("only", 0, candidate.algorithm, completed(parameters, rules))
    outcome = bench.run_trial(trial, Recorder(), None)
    # Watched, a network may be best early: the labels say the opposite of the teacher.
    settled = replace(outcome, refit_parameters=trial.parameters)
    return outcome, bench.retrain(settled, Recorder(), None)


def contrary(data: Table) -> np.ndarray:
    """float32 [rows, classes]: of a teacher that looks at the origin, as the labels don't."""
    origins = np.array(["EWR", "JFK", "LGA"])
    told = np.full((len(data), len(data.classes)), 0.1, dtype=np.float32)
    told[np.arange(len(data)), np.searchsorted(origins, data.categorical["origin"].astype(str))] = (
        0.7
    )
    return told


@pytest.fixture(scope="module")
def classes() -> Table:
    """Rows of four classes."""
    return class_table(900)


@pytest.mark.parametrize("algorithm", OF_CLASSES)
def test_a_student_of_classes_learns_what_the_teacher_tells_of_each(
    classes: Table, algorithm: str
) -> None:
    told = contrary(classes)
    job = class_spec(algorithm, **DISTILLED)
    outcome, model = distilled(job, classes, told, parameters=OF_CLASSES[algorithm])
    # The labels judge, and hardly know what was taught.
    assert outcome.metrics["balanced_accuracy"] < 0.45
    learned = model.predicted(classes)
    assert np.mean(learned.argmax(axis=1) == told.argmax(axis=1)) > 0.95
    assert np.abs(learned - told).mean() < 0.1
    RECIPES[algorithm].teach_export()
    graph = GraphModel(export_graph(model.encoder, model.estimator, classes), 1)
    assert check_parity(graph, model.encoder, model.estimator, classes) < 1e-5


@pytest.mark.parametrize("algorithm", ["decision_tree", "logistic_regression"])
def test_classes_that_are_certain_teach_what_the_labels_teach(
    classes: Table, algorithm: str
) -> None:
    told = np.eye(len(classes.classes), dtype=np.float32)[classes.label]
    by_teacher = distilled(class_spec(algorithm, **DISTILLED), classes, told, parameters={})[1]
    job = class_spec(algorithm)
    bench = Workbench(job, RECIPES, classes, parted(job, classes), cores=1)
    winner = TrialOutcome(0, algorithm, {}, completed({}, RECIPES[algorithm].rules))
    by_label = bench.retrain(winner, Recorder(), None)
    assert np.abs(by_teacher.predicted(classes) - by_label.predicted(classes)).max() < 5e-3


@pytest.mark.parametrize("algorithm", FEW_ROWS)
def test_a_student_of_quantities_learns_those_that_the_teacher_tells(algorithm: str) -> None:
    data = quantity_table(900)
    told = (500 - 0.2 * data.numeric["distance"]).astype(np.float32)
    job = quantity_spec(algorithm, **DISTILLED)
    outcome, model = distilled(job, data, told, parameters=FEW_ROWS[algorithm])
    assert outcome.metrics["r2"] < 0
    learned = model.predicted(data)
    assert np.corrcoef(learned, told)[0, 1] > 0.97
    assert np.sqrt(np.mean((learned - told) ** 2)) < 0.3 * told.std()
    RECIPES[algorithm].teach_export()
    graph = GraphModel(export_graph(model.encoder, model.estimator, data, model.scale), 1)
    assert check_parity(graph, model.encoder, model.estimator, data, scale=model.scale) < 1e-5


def test_texts_and_images_are_students_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = reader(small_encoder(tmp_path_factory.mktemp("encoders") / "small"))
    texts = text_table(160)
    told = np.full(len(texts), 0.9, dtype=np.float32)
    job = text_spec("text_frozen", **DISTILLED)
    _, model = distilled(job, texts, told, parameters={"epochs": 20}, text=small)
    assert np.abs(model.predicted(texts) - 0.9).mean() < 0.1

    digits = digit_table().take(np.arange(400))
    told = np.tile(np.array([0.55, *[0.05] * 9], dtype=np.float32), (400, 1))
    shape = {"height": SIDE, "width": SIDE, "filters": 4, "batch_rows": 32, "learning_rate": 0.01}
    _, model = distilled(digit_spec(**DISTILLED), digits, told, parameters={**shape, "epochs": 4})
    assert np.abs(model.predicted(digits) - told).mean() < 0.05


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 1000))
def test_each_row_comes_once_for_each_class_by_its_probability(
    rows: int, classes: int, seed: int
) -> None:
    soft = np.random.default_rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)
    matrix = np.arange(rows, dtype=np.float32).reshape(-1, 1)
    task = FitTask(
        rows=matrix,
        label=np.zeros(rows, dtype=np.int64),
        watch_rows=None,
        watch_label=None,
        parameters={},
        seed=0,
        cores=1,
        observer=Recorder(),
        classes=classes,
        soft_label=soft if classes > 2 else soft[:, 1],
    )
    copied, label, weight = weighted_rows(task)
    assert weight is not None
    assert len(copied) == len(label) == len(weight) == task.copies * rows
    for row, found, share in zip(copied[:, 0], label, weight, strict=True):
        assert share == pytest.approx(soft[int(row), found], abs=1e-6)


@given(st.integers(3, 6), st.integers(0, 1000))
def test_no_class_that_is_taught_is_certain(classes: int, seed: int) -> None:
    sure = np.eye(classes, dtype=np.float32)[np.random.default_rng(seed).integers(0, classes, 5)]
    names = tuple(map(str, range(classes)))
    table = class_table(5)
    parent = Parent("v", "", b"", b"", sure, table, None, Task.MULTICLASS, names)
    taught = parent.taught(np.arange(5))
    assert taught.min() >= SURE / 2
    assert taught.max() < 1
    assert taught.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
