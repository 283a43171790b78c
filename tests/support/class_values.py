"""Rows of four classes, and images of ten, small enough to train on in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from services.trainer.adapters.learning.loading import load_table
from services.trainer.core.spec import Candidate, Feature, FeatureKind, JobSpec
from services.trainer.core.splits import SplitMethod
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.trainer_values import EPOCH, arrow_rows, parquet_of, spec

CLASSES = ("cancelled", "early", "late", "on time")
SIDE = 8
"""Of a digit, in pixels."""

PIXELS = tuple(f"p{row}{column}" for row in range(SIDE) for column in range(SIDE))


def class_rows(rows: int = 1200, seed: int = 0) -> pa.Table:
    """`arrow_rows` with the target `fate`, a word, which depends on number and word."""
    table = arrow_rows(rows, seed)
    random = np.random.default_rng(seed + 1)
    score = np.asarray(table["distance"]) / 300 + random.normal(0, 0.5, rows)
    score += np.asarray(table["origin"]) == "EWR"
    fate = np.array(["early", "on time", "late"], dtype=object)[
        np.digitize(score, np.quantile(score, (0.3, 0.75)))
    ]
    fate[(np.asarray(table["carrier"]) == "AA") & (random.random(rows) < 0.3)] = "cancelled"
    return table.drop_columns("late").append_column("fate", pa.array(fate, pa.string()))


def class_spec(*algorithms: str, **changes: Any) -> JobSpec:
    """A spec for `class_rows`."""
    return spec(
        *algorithms,
        **{"target": "fate", "task": Task.MULTICLASS, "metric": "log_loss", **changes},
    )


def class_table(rows: int = 1200, seed: int = 0) -> Table:
    """`class_rows` as they are trained on."""
    return load_table([parquet_of(class_rows(rows, seed))], class_spec())


def digit_rows() -> pa.Table:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels from 0 to 16, one a minute."""
    from sklearn.datasets import load_digits

    found = load_digits()
    start_us = int(EPOCH.timestamp() * 1e6)
    times = [start_us + row * 60_000_000 for row in range(len(found.target))]
    columns = {name: found.data[:, at] for at, name in enumerate(PIXELS)}
    return pa.table(
        {"taken": pa.array(times, pa.timestamp("us", tz="UTC")), **columns, "digit": found.target}
    )


def digit_spec(**changes: Any) -> JobSpec:
    """A spec for `digit_rows`."""
    fields: dict[str, Any] = {
        "target": "digit",
        "task": Task.MULTICLASS,
        "metric": "log_loss",
        "features": tuple(
            Feature(name, FeatureKind.NUMERIC, minimum=0, maximum=16) for name in PIXELS
        ),
        "time_column": "taken",
        "split_method": SplitMethod.STRATIFIED,
        "slices": (),
        "candidates": (Candidate("cnn", {"height": SIDE, "width": SIDE}),),
    }
    return spec(**{**fields, **changes})


def digit_table() -> Table:
    """`digit_rows` as they are trained on."""
    return load_table([parquet_of(digit_rows())], digit_spec())
