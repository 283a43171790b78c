"""What the monitor has durably stored, read from its Delta tables behind its back."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from tests.system.suite import Suite

_ENDPOINT_TABLE = "default.late"


def stored_observations(suite: Suite) -> Counter[str]:
    """How often each prediction of the endpoint is stored, by its id."""
    rows = _rows(suite, f"observations/{_ENDPOINT_TABLE}", ["prediction_id"])
    return Counter(rows["prediction_id"].to_pylist() if rows else ())


def stored_outcomes(suite: Suite) -> dict[str, list[int]]:
    """Every outcome that is stored, by the id of its prediction."""
    rows = _rows(suite, "outcomes", ["prediction_id", "outcome"])
    outcomes = defaultdict(list)
    if rows:
        pairs = zip(rows["prediction_id"].to_pylist(), rows["outcome"].to_pylist(), strict=True)
        for prediction_id, outcome in pairs:
            outcomes[prediction_id].append(outcome)
    return dict(outcomes)


def _rows(suite: Suite, table: str, columns: list[str]) -> pa.Table | None:
    try:
        log = DeltaTable(str(_log_folder(suite) / table))
    except TableNotFoundError:
        return None
    return log.to_pyarrow_table(columns=columns)


def _log_folder(suite: Suite) -> Path:
    return suite.data_dir("monitor") / "blobs" / "predictions"
