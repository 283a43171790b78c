"""Models of classes, quantities, images and texts that are trained further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.native import NativeModel, native_bytes, native_from
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.worker.parents import check_reader
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import Parameters, completed
from services.trainer.core.parents import Mode
from services.trainer.core.partition import parted
from services.trainer.core.spec import JobSpec
from services.trainer.core.tables import Table
from tests.support.class_values import SIDE, class_spec, class_table, digit_spec, digit_table
from tests.support.fits import Recorder
from tests.support.quantity_values import quantity_spec, quantity_table
from tests.support.text_values import reader, small_encoder, text_spec, text_table

RECIPES = load_recipes()
BARELY: dict[str, dict[str, float]] = {  # parameters that leave the start nearly as it is
    "lightgbm": {"rounds": 1, "learning_rate": 1e-4},
    "mlp": {"epochs": 1, "learning_rate": 1e-6},
    "text_frozen": {"epochs": 1, "learning_rate": 1e-6},
    "text_full": {"epochs": 1, "learning_rate": 1e-7},
    "text_lora": {"epochs": 1, "learning_rate": 1e-7, "rank": 2},
}
FIRST: dict[str, dict[str, float]] = {
    "lightgbm": {"rounds": 30, "min_leaf_rows": 20},
    "mlp": {"batch_rows": 64, "epochs": 6, "learning_rate": 0.01},
    "text_frozen": {"epochs": 3},
    "text_full": {"epochs": 1, "learning_rate": 0.003},
    "text_lora": {"epochs": 1, "learning_rate": 0.01, "rank": 2},
}


def bench_of(
    job: JobSpec, data: Table, start: NativeModel | None = None, text: TextReader | None = None
) -> Workbench:
    parent = None
    if start is not None:
        told = np.zeros(len(data), np.float32)
        parent = Parent("v", "", b"", b"", told, data, start, job.task, data.classes)
    return Workbench(job, RECIPES, data, parted(job, data), cores=1, parent=parent, reader=text)


def trained(bench: Workbench, algorithm: str, parameters: Parameters) -> TrainedModel:
    asked = completed(parameters, RECIPES[algorithm].rules)
    outcome = bench.run_trial(Trial("only", 0, algorithm, asked), Recorder(), None)
    # Watched, a network may be best before its first epoch of further training is over.
    return bench.retrain(replace(outcome, refit_parameters=asked), Recorder(), None)


def kept(model: TrainedModel, algorithm: str) -> NativeModel:
    """What the file of the version holds."""
    return native_from(native_bytes(model.native(algorithm)))


def parity(model: TrainedModel, algorithm: str, rows: Table) -> float:
    RECIPES[algorithm].teach_export()
    graph = export_graph(model.encoder, model.estimator, rows, model.scale)
    return check_parity(
        GraphModel(graph, 1), model.encoder, model.estimator, rows, scale=model.scale
    )


TASKS = {
    "classes": (class_spec(mode=Mode.WARM_START, parent_version="v"), class_table),
    "quantities": (
        quantity_spec("mlp", mode=Mode.WARM_START, parent_version="v"),
        quantity_table,
    ),
}


@pytest.mark.parametrize("algorithm", ["lightgbm", "mlp"])
@pytest.mark.parametrize("kind", TASKS)
def test_classes_and_quantities_go_on_from_what_the_parent_tells(kind: str, algorithm: str) -> None:
    job, rows = TASKS[kind]
    old, new = rows(900, seed=0), rows(300, seed=1)
    first = trained(bench_of(job, old), algorithm, FIRST[algorithm])
    start = kept(first, algorithm)
    parameters = {**FIRST[algorithm], **BARELY[algorithm]}
    further = trained(bench_of(job, new, start), algorithm, parameters)
    assert further.scale == first.scale
    assert kept(further, algorithm).encoder == start.encoder
    unseen = rows(400, seed=5)
    moved = np.abs(further.predicted(unseen) - first.predicted(unseen)).max()
    unit = 1.0 if first.scale is None else first.scale.deviation
    assert 0 < moved < 0.01 * unit
    assert parity(further, algorithm, unseen) < 1e-5


def test_quantities_in_another_range_are_told_in_the_scale_of_the_parent() -> None:
    job, rows = TASKS["quantities"]
    first = trained(bench_of(job, rows(900)), "mlp", FIRST["mlp"])
    later = rows(300, seed=1)
    risen = replace(later, label=later.label + 100)
    further = trained(
        bench_of(job, risen, kept(first, "mlp")), "mlp", {**FIRST["mlp"], "epochs": 20}
    )
    assert further.scale == first.scale
    assert np.mean(further.predicted(risen) - first.predicted(risen)) == pytest.approx(100, abs=25)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TextReader:
    """Reads texts with an encoder that has learned nothing."""
    return reader(small_encoder(tmp_path_factory.mktemp("encoders") / "small"))


@pytest.mark.parametrize("algorithm", ["text_frozen", "text_full", "text_lora"])
def test_texts_go_on_from_what_the_parent_tells(small: TextReader, algorithm: str) -> None:
    job = text_spec(algorithm, mode=Mode.WARM_START, parent_version="v")
    old, new = text_table(160), text_table(80, seed=1)
    first = trained(bench_of(job, old, text=small), algorithm, FIRST[algorithm])
    start = kept(first, algorithm)
    assert start.texts == {"review": small.encoder.digest}
    further = trained(bench_of(job, new, start, small), algorithm, BARELY[algorithm])
    moved = np.abs(further.predicted(new) - first.predicted(new)).max()
    assert 0 < moved < 0.01
    assert parity(further, algorithm, new) < 1e-5
    assert kept(further, algorithm).tensors.keys() == start.tensors.keys()


def test_additions_that_weigh_otherwise_are_told_by_the_field(small: TextReader) -> None:
    job = text_spec("text_lora", mode=Mode.WARM_START, parent_version="v")
    rows = text_table(80)
    first = trained(bench_of(job, rows, text=small), "text_lora", FIRST["text_lora"])
    bench = bench_of(job, rows, kept(first, "text_lora"), small)
    with pytest.raises(UnusableParent, match=r"alpha / rank = 4; those of parent_version by 8"):
        trained(bench, "text_lora", {**BARELY["text_lora"], "alpha": 8})


def test_an_encoder_that_has_changed_under_its_name_is_told(
    small: TextReader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job, rows = text_spec(mode=Mode.WARM_START, parent_version="v"), text_table(80)
    first = trained(bench_of(job, rows, text=small), "text_frozen", FIRST["text_frozen"])
    told = np.zeros(len(rows), np.float32)
    parent = Parent("v", "", b"", b"", told, rows, kept(first, "text_frozen"))
    check_reader(parent, small)
    other = reader(small_encoder(tmp_path_factory.mktemp("encoders") / "other", seed=1))
    with pytest.raises(UnusableParent, match="parent_version has learned with sha256:"):
        check_reader(parent, other)


def test_images_go_on_with_the_pixels_scaled_as_the_parent_had_them() -> None:
    digits = digit_table()
    job = digit_spec(mode=Mode.WARM_START, parent_version="v")
    old, new = digits.take(np.arange(400)), digits.take(np.arange(400, 800))
    brighter = new.replaced({name: each * 2 for name, each in new.numeric.items()})
    shape = {"height": SIDE, "width": SIDE, "filters": 4, "epochs": 1}
    first = trained(bench_of(job, old), "cnn", shape)
    start = kept(first, "cnn")
    further = trained(bench_of(job, brighter, start), "cnn", {**shape, "learning_rate": 1e-6})
    assert np.abs(further.predicted(new) - first.predicted(new)).max() < 0.01
    assert np.array_equal(kept(further, "cnn").tensors["image"], start.tensors["image"])
    with pytest.raises(UnusableParent, match=r"4 x 16 pixels of 1 channels; .* 8 x 8 of 1"):
        trained(bench_of(job, new, start), "cnn", {**shape, "height": 4, "width": 16})
