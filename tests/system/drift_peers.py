"""What Evidently, NannyML and River say of a series of windows, each with its defaults.

Run by `tests.system.peer_runs` in an environment of their own (tools/environments/drift_peers.txt).
For each path on standard input it answers a line of JSON: for each rule a list of booleans, one
per window.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from nannyml import DataReconstructionDriftCalculator, UnivariateDriftCalculator
from river.drift import ADWIN


def said(path: str) -> dict[str, list[bool]]:
    """The alarms of each rule by window."""
    with np.load(path) as saved:
        reference = _frame(saved, "before/")
        after = _frame(saved, "after/")
        rows = len(after) // int(saved["windows"])
    windows = [after.iloc[start : start + rows] for start in range(0, len(after), rows)]
    shares = [_evidently_share(reference, window) for window in windows]
    return {
        "Evidently, any column": [share > 0 for share in shares],
        "Evidently, half of the columns": [share >= 0.5 for share in shares],
        **_nannyml(reference, after, rows),
        **_river([reference, *windows]),
    }


def _frame(saved: np.lib.npyio.NpzFile, part: str) -> pd.DataFrame:
    names = [name for name in saved.files if name.startswith(part)]
    frame = pd.DataFrame({name.removeprefix(part): saved[name] for name in names})
    frame["score"] = frame["score"].astype(np.float64)
    frame["label"] = frame["label"].astype(str)
    return frame


def _categorical(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if frame[name].dtype == object]


def _evidently_share(reference: pd.DataFrame, window: pd.DataFrame) -> float:
    """Share of columns that the preset finds drifted; half of them is its dataset drift."""
    categorical = _categorical(reference)
    columns = DataDefinition(
        numerical_columns=[name for name in reference if name not in categorical],
        categorical_columns=categorical,
    )
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(window, columns), Dataset.from_pandas(reference, columns)
    )
    values = [metric["value"] for metric in snapshot.dict()["metrics"]]
    return next(float(value["share"]) for value in values if isinstance(value, dict))


def _nannyml(reference: pd.DataFrame, after: pd.DataFrame, rows: int) -> dict[str, list[bool]]:
    univariate = UnivariateDriftCalculator(
        column_names=list(reference),
        treat_as_categorical=_categorical(reference),
        chunk_size=rows,
    )
    features = [name for name in reference if name not in {"score", "label"}]
    together = DataReconstructionDriftCalculator(column_names=features, chunk_size=rows)
    found = {"NannyML, any column": univariate, "NannyML, reconstruction": together}
    return {
        rule: _any_alert(calculator.fit(reference).calculate(after))
        for rule, calculator in found.items()
    }


def _any_alert(result: object) -> list[bool]:
    frame = result.filter(period="analysis").to_df()
    alerts = frame.loc[:, frame.columns.get_level_values(-1) == "alert"]
    return [bool(each) for each in alerts.any(axis=1)]


def _river(parts: Sequence[pd.DataFrame]) -> dict[str, list[bool]]:
    """ADWIN over each column, and over the model's errors; fed the training rows first."""
    categorical = _categorical(parts[0])
    numeric = [name for name in parts[0] if name not in categorical]
    columns = [_adwin_windows([part[name] for part in parts]) for name in numeric]
    return {
        "River, ADWIN on any column": [any(window) for window in zip(*columns, strict=True)],
        "River, ADWIN on errors": _adwin_windows([_errors(part) for part in parts]),
    }


def _errors(part: pd.DataFrame) -> pd.Series:
    return ((part["score"] >= 0.5) != (part["label"] == "1")).astype(float)


def _adwin_windows(parts: Sequence[pd.Series]) -> list[bool]:
    detector = ADWIN()

    def alarms() -> Iterator[bool]:
        for part in parts:
            found = False
            for value in part.tolist():
                detector.update(value)
                found |= detector.drift_detected
            yield found

    return list(alarms())[1:]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # They print what they like; answers go where nobody else writes.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(said(line.strip())), file=answers, flush=True)
