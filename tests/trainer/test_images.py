"""Images: a convolutional network on scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.data_report import data_report
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.class_values import SIDE, digit_spec, digit_table
from tests.support.fits import Interrupted, Recorder

RECIPES = load_recipes()
CNN = RECIPES["cnn"]


@pytest.fixture(scope="module")
def digits() -> Table:
    """All of them."""
    return digit_table()


def trial(**parameters: float) -> Trial:
    shape = {"height": SIDE, "width": SIDE}
    return Trial("only", 0, "cnn", completed({**shape, **parameters}, CNN.rules))


def test_the_report_finds_nothing_that_stops_a_job_on_digits(digits: Table) -> None:
    job = digit_spec()
    found = data_report(job, digits, parted(job, digits), {})
    found.check()
    assert {finding.kind.value for finding in found.findings} <= {"constant"}


@pytest.mark.real
def test_digits_are_told_and_the_graph_tells_the_same_also_without_some_pixels(
    digits: Table,
) -> None:
    job = digit_spec()
    split = parted(job, digits)
    bench = Workbench(job, RECIPES, digits, split, cores=1)
    outcome = bench.run_trial(trial(epochs=6, batch_rows=32, learning_rate=0.003), Recorder(), None)
    model = bench.retrain(outcome, Recorder(), None)
    CNN.teach_export()
    runtime = GraphModel(export_graph(model.encoder, model.estimator, digits), 1)
    assert check_parity(runtime, model.encoder, model.estimator, digits) < 1e-5
    test = digits.take(split.test)
    right = runtime.predicted(test).argmax(axis=1) == test.label
    assert right.mean() > 0.9


@pytest.mark.parametrize("classes", [10, 2])
def test_a_fit_that_goes_on_from_a_checkpoint_is_the_one_that_never_stopped(
    digits: Table, classes: int
) -> None:
    job = digit_spec()
    if classes == 2:
        job = replace(job, task=Task.BINARY, metric="auc")
        digits = replace(digits, label=digits.label % 2, classes=("0", "1"))
    bench = Workbench(job, RECIPES, digits, parted(job, digits), cores=1)
    few = trial(epochs=3, filters=4)
    whole, first, second = Recorder(), Recorder(stop_after=1), Recorder()
    expected = bench.run_trial(few, whole, None)
    with pytest.raises(Interrupted):
        bench.run_trial(few, first, None)
    assert bench.run_trial(few, second, first.checkpoints[-1]) == expected
    assert first.steps + second.steps == whole.steps
    assert first.checkpoints + second.checkpoints == whole.checkpoints


def test_images_with_channels_and_odd_sides_are_exported_exactly() -> None:
    random = np.random.default_rng(0)
    shape = (7, 5, 3)
    pixels = {f"p{at}": random.random(60).astype(np.float32) for at in range(7 * 5 * 3)}
    label = np.arange(60) % 3
    rows = Table(pixels, {}, label, np.arange(60), {}, classes=("a", "b", "c"))
    job = digit_spec()
    bench = Workbench(job, RECIPES, rows, parted(job, rows), cores=1)
    given = dict(zip(("height", "width", "channels"), shape, strict=True))
    outcome = bench.run_trial(trial(epochs=1, **given), Recorder(), None)
    model = bench.retrain(outcome, Recorder(), None)
    CNN.teach_export()
    runtime = GraphModel(export_graph(model.encoder, model.estimator, rows), 1)
    assert check_parity(runtime, model.encoder, model.estimator, rows) < 1e-5
