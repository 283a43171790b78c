"""Public data with known changes, as the monitor and its peers see them.

Both come inside of the package `nannyml` (Apache-2.0), which the peers' environment has. Rows take
the place of time there: so many of them count as a week.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    feature_profiles,
    reliability_of,
)
from services.common.sketches import FrozenBins
from services.monitor.core.detecting import sight_of
from services.monitor.core.detectors.port import Sight
from services.monitor.core.stream.batches import FEATURE_PREFIX
from services.monitor.core.stream.tallies import Tally
from tests.support.drift_worlds import DAY_US, WEEK_DAYS
from tests.system.peer_runs import ENVIRONMENT, Columns

_PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
FOLDER: Final = ENVIRONMENT / f"venv/lib/{_PYTHON}/site-packages/nannyml/datasets/data"
_WEEK: Final = timedelta(days=WEEK_DAYS)
_FIRST_DAY: Final = 4
"""A Monday."""


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A model's rows before and after deployment.

    Attributes:
        files: Of the rows before, of those after, and of the outcomes of those after.
        categorical: Features that are words.
        numeric: Features that are numbers.
        score: Column of the probability of outcome 1.
        label: Column of the outcome.
        rows: That count as a week.
        quiet_weeks: After deployment, before the change.
        changed: Features that changed then.
        known: How that is known.
    """

    name: str
    files: tuple[str, str, str]
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    score: str
    label: str
    rows: int
    quiet_weeks: int
    changed: frozenset[str]
    known: str

    def before(self) -> Columns:
        """The rows before deployment; the model was not trained on them."""
        return self._columns(_table(self.files[0]))

    def weeks(self) -> list[Columns]:
        """The rows after deployment, in whole weeks."""
        _, after, outcomes = self.files
        table, known = _table(after), _table(outcomes)
        assert table.column("id").equals(known.column("id"))
        columns = self._columns(table.append_column(self.label, known.column(self.label)))
        return [
            {name: values[first : first + self.rows] for name, values in columns.items()}
            for first in range(0, table.num_rows - self.rows + 1, self.rows)
        ]

    def _columns(self, table: pa.Table) -> Columns:
        words = {name: _words(table.column(name)) for name in self.categorical}
        numbers = {name: _numbers(table.column(name)) for name in self.numeric}
        score = _numbers(table.column(self.score)).astype(np.float32)
        return {**words, **numbers, "score": score, "label": _labels(table.column(self.label))}


CAR_LOANS: Final = PublicSet(
    name="car loans",
    files=(
        "synthetic_car_loan_reference.csv",
        "synthetic_car_loan_analysis.csv",
        "synthetic_car_loan_analysis_target.csv",
    ),
    categorical=("salary_range", "repaid_loan_on_prev_car", "size_of_downpayment"),
    numeric=("car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"),
    score="y_pred_proba",
    label="repaid",
    rows=1250,
    quiet_weeks=20,
    changed=frozenset({"car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car"}),
    known="documented: four features, from the second half on",
)
CENSUS: Final = PublicSet(
    name="census, 2015 to 2018",
    files=(
        "employment_MA_reference.pq",
        "employment_MA_analysis.pq",
        "employment_MA_analysis_target.pq",
    ),
    categorical=(
        *("SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY"),
        *("DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
    ),
    numeric=("AGEP",),
    score="predicted_probability",
    label="employed",
    rows=5000,
    quiet_weeks=14,
    changed=frozenset({"RELP"}),
    known="seen in the rows: from 2017 on, people in group quarters are no longer among others",
)
SETS: Final = (CAR_LOANS, CENSUS)
"""NannyML's `synthetic_sample` is the car loans under other names."""


def sights(before: Columns, weeks: Sequence[Columns]) -> Iterator[Sight]:
    """What the monitor sees of each week, all outcomes known."""
    profile = _profile(before, _times(len(before["label"]), len(weeks[0]["label"]), _FIRST_DAY))
    first_day = _FIRST_DAY + WEEK_DAYS * -(-len(before["label"]) // len(weeks[0]["label"]))
    for place, week in enumerate(weeks):
        rows = len(week["label"])
        time_us = _times(rows, rows, first_day + WEEK_DAYS * place)
        tally = Tally(profile)
        tally.observe(_observations(week, time_us, place))
        for index, (label, moment) in enumerate(zip(week["label"], time_us, strict=True)):
            tally.learn(index, int(label), int(moment))
        sight = sight_of(tally, _WEEK)
        assert sight is not None
        yield sight


def _profile(before: Columns, time_us: npt.NDArray[np.int64]) -> Profile:
    columns = _features(before)
    words = {name for name, values in columns.items() if values.dtype.kind == "U"}
    features = feature_profiles(columns, categorical=words, time_us=time_us)
    scores, labels = before["score"], before["label"]
    score = ColumnProfile.of(FrozenBins.numeric(scores), scores, time_us)
    return Profile(
        features=features,
        score=score,
        label=ColumnProfile.of(FrozenBins.numeric([0, 1]), labels, time_us),
        n=len(labels),
        sample=RowSample.of(columns, features, time_us),
        reliability=reliability_of(score, scores, labels, time_us),
    )


def _features(columns: Columns) -> Columns:
    return {name: each for name, each in columns.items() if name not in ("score", "label")}


def _times(rows: int, of_week: int, first_day: int) -> npt.NDArray[np.int64]:
    """int64 [rows]: event times, evenly over weeks of so many rows."""
    day_us = WEEK_DAYS * DAY_US / of_week
    return first_day * DAY_US + (np.arange(rows) * day_us).astype(np.int64)


def _observations(week: Columns, time_us: npt.NDArray[np.int64], place: int) -> pa.Table:
    return pa.table(
        {
            "prediction_id": [f"w{place}r{row}" for row in range(len(time_us))],
            "event_time": pa.array(time_us, pa.timestamp("us", tz="UTC")),
            "score": week["score"],
            **{FEATURE_PREFIX + name: values for name, values in _features(week).items()},
        }
    )


def _table(name: str) -> pa.Table:
    path = FOLDER / name
    return parquet.read_table(path) if path.suffix == ".pq" else csv.read_csv(path)


def _words(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    return np.array(pc.fill_null(pc.cast(column, pa.string()), "").to_pylist(), np.str_)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(), np.float64)


def _labels(column: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    return np.asarray(pc.cast(column, pa.int8()).to_numpy(), np.int8)
