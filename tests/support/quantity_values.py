"""Rows with a quantity to predict, small enough to train on in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from services.trainer.adapters.learning.loading import load_table
from services.trainer.core.spec import Candidate, Feature, FeatureKind, JobSpec
from services.trainer.core.splits import SplitMethod, SplitShares
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.trainer_values import EPOCH, arrow_rows, parquet_of, spec

FEW_ROWS: dict[str, dict[str, float]] = {
    "decision_tree": {"max_depth": 6, "min_leaf_rows": 20},
    "lightgbm": {"min_leaf_rows": 20, "rounds": 80},
    "linear_regression": {},
    "mlp": {"batch_rows": 64, "epochs": 8, "learning_rate": 0.02},
    "random_forest": {"min_leaf_rows": 5},
}
"""Parameters with which each algorithm learns from a thousand rows."""


def quantity_rows(rows: int = 1200, seed: int = 0) -> pa.Table:
    """`arrow_rows` with the target `minutes`, which depends on number and word."""
    table = arrow_rows(rows, seed)
    random = np.random.default_rng(seed + 1)
    wind = np.nan_to_num(np.asarray(table["wind"], dtype=np.float64), nan=5.0)
    minutes = 240 + np.asarray(table["distance"]) / 10 + 2 * wind
    minutes += 40 * (np.asarray(table["origin"]) == "EWR") + random.normal(0, 15, rows)
    return table.drop_columns("late").append_column("minutes", pa.array(minutes))


def quantity_spec(*algorithms: str, **changes: Any) -> JobSpec:
    """A spec for `quantity_rows`."""
    chosen = tuple(Candidate(each, FEW_ROWS[each]) for each in algorithms or ("decision_tree",))
    fields = {
        "target": "minutes",
        "task": Task.REGRESSION,
        "metric": "rmse",
        "candidates": chosen,
    }
    return spec(**{**fields, **changes})


def quantity_table(rows: int = 1200, seed: int = 0) -> Table:
    """`quantity_rows` as they are trained on."""
    return load_table([parquet_of(quantity_rows(rows, seed))], quantity_spec())


def diabetes_rows() -> pa.Table:
    """scikit-learn's 442 patients, ten measurements of each and how ill they were a year later.

    The sex is given as a word, and one a minute comes in the order of the file.
    """
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    start_us = int(EPOCH.timestamp() * 1e6)
    times = [start_us + row * 60_000_000 for row in range(len(found.target))]
    columns = dict(zip(found.feature_names, found.data.T, strict=True))
    columns["sex"] = np.where(columns["sex"] == 1, "one", "two")
    return pa.table(
        {
            "seen": pa.array(times, pa.timestamp("us", tz="UTC")),
            **columns,
            "progression": found.target,
        }
    )


def diabetes_spec(**changes: Any) -> JobSpec:
    """A spec for `diabetes_rows`."""
    names = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    fields: dict[str, Any] = {
        "target": "progression",
        "task": Task.REGRESSION,
        "metric": "rmse",
        "features": (
            *(Feature(name, FeatureKind.NUMERIC) for name in names),
            Feature("sex", FeatureKind.CATEGORICAL),
        ),
        "time_column": "seen",
        "split_method": SplitMethod.RANDOM,
        "shares": SplitShares(0.5, 0.2, 0.3),
        "slices": ("sex",),
        "candidates": (
            Candidate("linear_regression", {}),
            Candidate("lightgbm", {"min_leaf_rows": 10}),
        ),
    }
    return spec(**{**fields, **changes})
