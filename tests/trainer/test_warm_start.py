"""Models that are trained further: from what, and into what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.common import scoring
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import EncodedRows, fitted_as, frame, learned
from services.trainer.adapters.learning.native import NativeModel, native_bytes, native_from
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.recipe import Encoding, FitTask, Fitted
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.tables import Table
from tests.support.fits import Interrupted, Recorder
from tests.support.trainer_values import spec, table

RECIPES = load_recipes()
ABLE = sorted(
    name
    for name, found in RECIPES.items()
    if Mode.WARM_START in found.modes
    and not (found.ability.reads_images or found.ability.reads_text)
)
OLD, NEW = table(1200, seed=0), table(300, seed=1)
BARELY = {  # parameters that leave the start nearly as it is
    "lightgbm": {"rounds": 1, "learning_rate": 1e-4},
    "mlp": {"epochs": 1, "learning_rate": 1e-6},
}
LITTLE = {"lightgbm": {"rounds": 5}, "mlp": {"epochs": 1}}


def task(algorithm: str, data: Table, start: NativeModel | None, **parameters: float) -> FitTask:
    recipe = RECIPES[algorithm]
    state = None if start is None else start.encoder
    rows = EncodedRows(data, np.arange(len(data)), None, state)
    return FitTask(
        rows=rows.encoded(recipe.encoding).fit,
        label=rows.fit.label,
        watch_rows=None,
        watch_label=None,
        parameters=completed(parameters, recipe.rules),
        seed=3,
        cores=1,
        observer=Recorder(),
        start=None if start is None else start.tensors,
    )


def native(algorithm: str, fitted: Fitted) -> NativeModel:
    """What the file of a version on `OLD` holds."""
    rows = EncodedRows(OLD, np.arange(len(OLD)), None)
    assert fitted.weights is not None
    encoder = rows.encoded(RECIPES[algorithm].encoding).encoder
    return native_from(native_bytes(NativeModel(algorithm, fitted.weights, learned(encoder))))


@pytest.fixture(scope="module")
def first() -> dict[str, Fitted]:
    """A model of each algorithm, on old rows."""
    return {name: RECIPES[name].fit(task(name, OLD, None)) for name in ABLE}


def answers(algorithm: str, fitted: Fitted, start: NativeModel | None, data: Table) -> np.ndarray:
    rows = task(algorithm, data, start).rows
    return np.asarray(fitted.estimator.predict_proba(rows)[:, 1])


@pytest.mark.parametrize("encoding", [e for e in Encoding if e is not Encoding.TOKENS])
def test_an_encoder_comes_back_to_the_last_bit_whatever_rows_are_at_hand(
    encoding: Encoding,
) -> None:
    encoder = EncodedRows(OLD, np.arange(len(OLD)), None).encoded(encoding).encoder
    stored = native_bytes(NativeModel("mlp", {"x": np.zeros(1)}, learned(encoder)))
    other = NEW.replaced({"origin": np.full(len(NEW), "SFO", dtype=object)})
    again = fitted_as(native_from(stored).encoder, encoding, other)
    for rows in (OLD, NEW, other):
        assert np.array_equal(encoder.transform(frame(rows)), again.transform(frame(rows)))
    assert learned(again) == learned(encoder)


@pytest.mark.parametrize("algorithm", ABLE)
def test_a_start_that_barely_moves_answers_as_before(
    first: dict[str, Fitted], algorithm: str
) -> None:
    start = native(algorithm, first[algorithm])
    further = RECIPES[algorithm].fit(task(algorithm, NEW, start, **BARELY[algorithm]))
    before = answers(algorithm, first[algorithm], start, NEW)
    after = answers(algorithm, further, start, NEW)
    assert 0 < np.abs(before - after).max() < 1e-2


@pytest.mark.parametrize("algorithm", ABLE)
def test_a_little_training_from_a_start_beats_as_little_from_nothing(
    first: dict[str, Fitted], algorithm: str
) -> None:
    start = native(algorithm, first[algorithm])
    asked = task(algorithm, NEW, start, **LITTLE[algorithm])
    further = RECIPES[algorithm].fit(asked)
    anew = RECIPES[algorithm].fit(task(algorithm, NEW, None, **LITTLE[algorithm]))
    unseen = table(600, seed=5)
    with_start = answers(algorithm, further, start, unseen)
    fresh = EncodedRows(NEW, np.arange(len(NEW)), None).encoded(RECIPES[algorithm].encoding)
    without = anew.estimator.predict_proba(fresh.encoder.transform(frame(unseen)))[:, 1]
    assert scoring.log_loss(unseen.label, with_start) < scoring.log_loss(unseen.label, without)
    again = RECIPES[algorithm].fit(asked)
    assert np.array_equal(with_start, answers(algorithm, again, start, unseen))


@pytest.mark.parametrize("algorithm", ABLE)
def test_a_model_that_was_trained_further_exports_and_can_be_trained_further_again(
    first: dict[str, Fitted], algorithm: str
) -> None:
    start = native(algorithm, first[algorithm])
    data = replace(NEW)
    rows = EncodedRows(data, np.arange(len(data)), None, start.encoder)
    encoder = rows.encoded(RECIPES[algorithm].encoding).encoder
    further = RECIPES[algorithm].fit(task(algorithm, data, start, **LITTLE[algorithm]))
    RECIPES[algorithm].teach_export()
    graph = GraphModel(export_graph(encoder, further.estimator, data), 1)
    assert check_parity(graph, encoder, further.estimator, table(2000, seed=6)) < 1e-5
    assert further.weights is not None
    third = NativeModel(algorithm, further.weights, learned(encoder))
    RECIPES[algorithm].fit(task(algorithm, data, third, **LITTLE[algorithm]))


def test_rounds_and_steps_count_what_is_added(first: dict[str, Fitted]) -> None:
    start = native("lightgbm", first["lightgbm"])
    asked = task("lightgbm", NEW, start, rounds=20)
    further = RECIPES["lightgbm"].fit(asked)
    assert further.refit_parameters["rounds"] == 20
    assert isinstance(asked.observer, Recorder)
    assert [step.number for step in asked.observer.steps] == [10, 20]
    assert further.estimator.booster_.num_trees() == 220


def test_a_network_goes_on_from_a_checkpoint_of_further_training(first: dict[str, Fitted]) -> None:
    start = native("mlp", first["mlp"])
    whole = RECIPES["mlp"].fit(task("mlp", NEW, start, epochs=4))
    stopped = Recorder(stop_after=2)
    with pytest.raises(Interrupted):
        RECIPES["mlp"].fit(replace(task("mlp", NEW, start, epochs=4), observer=stopped))
    resumed = RECIPES["mlp"].fit(
        replace(task("mlp", NEW, start, epochs=4), resume_from=stopped.checkpoints[-1])
    )
    assert np.array_equal(answers("mlp", whole, start, NEW), answers("mlp", resumed, start, NEW))


def test_a_network_of_another_size_is_told_by_the_field(first: dict[str, Fitted]) -> None:
    start = native("mlp", first["mlp"])
    with pytest.raises(UnusableParent, match=r"shape \(8, .*that of parent_version has \(64, "):
        RECIPES["mlp"].fit(task("mlp", NEW, start, hidden_units=8))


def test_a_job_goes_on_from_the_parents_preprocessing(first: dict[str, Fitted]) -> None:
    start = native("mlp", first["mlp"])
    split = split_by_time(NEW.event_time_us, SplitShares())
    job = spec("mlp", mode=Mode.WARM_START, parent_version="v", cross_validation_folds=2)
    parent = Parent("v", "sha256:0", b"", b"", np.zeros(len(NEW), np.float32), NEW, start)
    bench = Workbench(job, RECIPES, NEW, split, cores=1, parent=parent)
    parameters = completed({"epochs": 1}, RECIPES["mlp"].rules)
    trial = Trial("only", 0, "mlp", parameters)
    outcome = bench.run_trial(trial, Recorder(), None)
    assert outcome.metrics["auc"] > 0.6
    chosen = replace(trial, chosen_parameters=outcome.refit_parameters)
    assert bench.run_fold(chosen, 0, Recorder()).metrics["auc"] > 0.6
    model = bench.retrain(outcome, Recorder(), None)
    assert learned(model.encoder) == start.encoder
    assert model.weights is not None
