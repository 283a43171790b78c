"""What Evidently says of the window, by its preset for drift: one JSON object.

Run by `benchmarks.monitor.wide` in Evidently's own environment (tools/environments/evidently.txt):
`python -m benchmarks.monitor.evidently_report REFERENCE_BLOCKS WINDOW_BLOCKS COLUMN_BLOCKS`. A
block of columns at a time, each with all its rows: of all columns at once it would hold several
times more.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.monitor.columns import REFERENCE, WINDOW, block, names, peak_mib


def main(reference_blocks: int, window_blocks: int, column_blocks: int) -> dict[str, float]:
    """Seconds, columns that it finds drifted, and the peak of its memory."""
    took_s, cpu_s, drifted = 0.0, 0.0, 0
    for columns in range(column_blocks):
        reference = _frame(REFERENCE, reference_blocks, columns)
        window = _frame(WINDOW, window_blocks, columns)
        started, used = time.perf_counter(), time.process_time()
        drifted += _drifted(reference, window)
        took_s += time.perf_counter() - started
        cpu_s += time.process_time() - used
    return {"took_s": took_s, "cpu_s": cpu_s, "found": drifted, "peak_mib": peak_mib()}


def _frame(part: int, blocks: int, columns: int) -> pd.DataFrame:
    values = np.concatenate([block(part, rows, columns) for rows in range(blocks)], axis=1)
    return pd.DataFrame(dict(zip(names(columns), values, strict=True)))


def _drifted(reference: pd.DataFrame, window: pd.DataFrame) -> int:
    definition = DataDefinition(numerical_columns=list(reference))
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(window, definition), Dataset.from_pandas(reference, definition)
    )
    values = [metric["value"] for metric in snapshot.dict()["metrics"]]
    (counted,) = [each for each in values if isinstance(each, dict) and "count" in each]
    return int(counted["count"])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump(main(*map(int, sys.argv[1:])), sys.stdout)
