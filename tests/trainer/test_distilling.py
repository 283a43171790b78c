"""What recipes learn of a teacher's probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.adapters.learning.encoding import EncodedRows
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.recipe import FitTask, weighted_rows
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.tables import Table
from tests.support.fits import Recorder
from tests.support.trainer_values import spec, table

RECIPES = load_recipes()
STUDENTS = ["decision_tree", "lightgbm", "logistic_regression", "mlp", "random_forest"]


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows to train on."""
    return table()


def taught(data: Table) -> np.ndarray:
    """float32 [rows]: what a teacher gives them, who knows the opposite of the labels."""
    distance = data.numeric["distance"]
    return (1 / (1 + np.exp((distance - 1000) / 150))).astype(np.float32)


def task(data: Table, algorithm: str, soft_label: np.ndarray | None) -> FitTask:
    split = split_by_time(data.event_time_us, SplitShares())
    rows = EncodedRows(data, split.train, None)
    recipe = RECIPES[algorithm]
    return FitTask(
        rows=rows.encoded(recipe.encoding).fit,
        label=rows.fit.label,
        watch_rows=None,
        watch_label=None,
        parameters=completed({}, recipe.rules),
        seed=3,
        cores=1,
        observer=Recorder(),
        soft_label=None if soft_label is None else soft_label[split.train],
    )


@pytest.mark.parametrize("algorithm", STUDENTS)
def test_a_student_learns_the_teacher_and_not_the_labels(data: Table, algorithm: str) -> None:
    teacher = taught(data)
    asked = task(data, algorithm, teacher)
    probability = RECIPES[algorithm].fit(asked).estimator.predict_proba(asked.rows)[:, 1]
    assert asked.soft_label is not None
    assert np.corrcoef(probability, asked.soft_label)[0, 1] > 0.8
    assert np.corrcoef(probability, asked.label)[0, 1] < 0
    again = RECIPES[algorithm].fit(asked).estimator.predict_proba(asked.rows)[:, 1]
    assert np.array_equal(probability, again)


@pytest.mark.parametrize("algorithm", ["logistic_regression", "decision_tree"])
def test_soft_labels_that_are_certain_teach_what_the_labels_teach(
    data: Table, algorithm: str
) -> None:
    plain = task(data, algorithm, None)
    sure = replace(plain, soft_label=np.clip(plain.label, 1e-6, 1 - 1e-6).astype(np.float32))
    by_label = RECIPES[algorithm].fit(plain).estimator.predict_proba(plain.rows)[:, 1]
    by_teacher = RECIPES[algorithm].fit(sure).estimator.predict_proba(plain.rows)[:, 1]
    assert np.abs(by_label - by_teacher).max() < 5e-3


def test_weights_of_a_row_are_the_probabilities_of_its_labels(data: Table) -> None:
    asked = task(data, "decision_tree", taught(data))
    rows, label, weight = weighted_rows(asked)
    assert weight is not None
    assert asked.soft_label is not None
    assert len(rows) == asked.copies * len(asked.rows)
    assert np.allclose(weight[label == 1], asked.soft_label)
    assert np.allclose(weight[label == 1] + weight[label == 0], 1)


def test_trials_and_the_winner_learn_from_the_parent_and_are_judged_by_labels(data: Table) -> None:
    job = spec("decision_tree", mode=Mode.DISTILLATION, parent_version="v")
    split = split_by_time(data.event_time_us, job.shares)
    parent = Parent("v", "sha256:0", b"", b"", taught(data), data)
    bench = Workbench(job, RECIPES, data, split, cores=1, parent=parent)
    rules = RECIPES["decision_tree"].rules
    outcome = bench.run_trial(
        Trial("only", 0, "decision_tree", completed({}, rules)), Recorder(), None
    )
    assert outcome.metrics["auc"] < 0.5
    model = bench.retrain(outcome, Recorder(), None)
    matrix = EncodedRows(data, split.fit, None).encoded(RECIPES["decision_tree"].encoding).fit
    probability = model.estimator.predict_proba(matrix)[:, 1]
    assert np.corrcoef(probability, parent.told[split.fit])[0, 1] > 0.9
