"""Arrow batches off the wire, checked before they are logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from services.monitor.adapters.log.commits import GroupCommitter
from services.monitor.adapters.log.delta_log import DeltaPredictionLog
from services.monitor.core.errors import InvalidBatch
from services.monitor.core.names import ENDPOINT
from services.monitor.core.stream.batches import (
    FEATURE_PREFIX,
    LATENCY,
    OBSERVATION_COLUMNS,
    OPTIONAL_OBSERVATION_COLUMNS,
    OUTCOME_COLUMNS,
    REQUEST_COLUMNS,
    SHADOW_SUFFIX,
    ObservationBatch,
    OutcomeBatch,
)

_NOTHING: Final[Mapping[str, pa.DataType]] = {}

_FEATURE_TYPES: Final = (pa.float32(), pa.string())


class ArrowIntake:
    """Implements `ObservationLog`.

    Args:
        committer: Makes batches durable.
        log: Knows which type an endpoint's features have.
    """

    def __init__(self, committer: GroupCommitter, log: DeltaPredictionLog) -> None:
        self._committer = committer
        self._log = log

    async def append_observations(self, batch_id: str, arrow_stream: bytes) -> int:
        """See `ObservationLog`."""
        rows = _read(batch_id, arrow_stream)
        features = [name for name in rows.column_names if name.startswith(FEATURE_PREFIX)]
        columns = {**OBSERVATION_COLUMNS, **_held(rows, OPTIONAL_OBSERVATION_COLUMNS)}
        rows = _checked(batch_id, rows, columns, features, _held(rows, REQUEST_COLUMNS))
        if rows.num_rows:
            self._check_features(batch_id, rows, features)
            await self._committer.submit(ObservationBatch, batch_id, rows)
        return int(rows.num_rows)

    async def append_outcomes(self, batch_id: str, arrow_stream: bytes) -> int:
        """See `ObservationLog`."""
        rows = _checked(batch_id, _read(batch_id, arrow_stream), OUTCOME_COLUMNS)
        if not pc.all(pc.is_in(rows.column("outcome"), pa.array([0, 1])), min_count=0).as_py():
            raise InvalidBatch(batch_id, "an outcome is neither 0 nor 1", "outcome")
        if rows.num_rows:
            await self._committer.submit(OutcomeBatch, batch_id, rows)
        return int(rows.num_rows)

    def _check_features(self, batch_id: str, rows: pa.Table, features: list[str]) -> None:
        for endpoint in pc.unique(rows.column("endpoint")).to_pylist():
            if not ENDPOINT.matches(endpoint.removesuffix(SHADOW_SUFFIX)):
                raise InvalidBatch(batch_id, f"{endpoint!r} names no endpoint", "endpoint")
            known = self._log.endpoint_columns(endpoint)
            for name in features:
                held = rows.schema.field(name).type
                if known.get(name, held) != held:
                    raise InvalidBatch(
                        batch_id, f"{name} is {held}, but was {known[name]} before", name
                    )


def _read(batch_id: str, arrow_stream: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(arrow_stream) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise InvalidBatch(batch_id, f"it is no Arrow stream ({error})") from error


def _held(rows: pa.Table, columns: Mapping[str, pa.DataType]) -> Mapping[str, pa.DataType]:
    return {name: kind for name, kind in columns.items() if name in rows.column_names}


def _checked(
    batch_id: str,
    rows: pa.Table,
    columns: Mapping[str, pa.DataType],
    features: Sequence[str] = (),
    nullable: Mapping[str, pa.DataType] = _NOTHING,
) -> pa.Table:
    """The named columns alone, with these types, and the features; no null where none may be."""
    # Asked for its columns, a table names them all: once, not once for each feature.
    times_named = Counter(rows.column_names)
    for name, kind in {**columns, **nullable}.items():
        if times_named[name] != 1:
            raise InvalidBatch(batch_id, f"it needs one column {name}", name)
        if rows.schema.field(name).type != kind:
            raise InvalidBatch(
                batch_id, f"{name} is {rows.schema.field(name).type}, not {kind}", name
            )
        if name not in nullable and rows.column(name).null_count:
            raise InvalidBatch(batch_id, f"{name} has no value in some row", name)
    for name in features:
        if times_named[name] != 1 or rows.schema.field(name).type not in _FEATURE_TYPES:
            raise InvalidBatch(batch_id, f"{name} must be one column of float32 or string", name)
    if "score" in columns and not pc.all(pc.is_finite(rows.column("score")), min_count=0).as_py():
        raise InvalidBatch(batch_id, "a score is no number", "score")
    if (
        LATENCY in nullable
        and not pc.all(pc.greater_equal(rows.column(LATENCY), 0), min_count=0).as_py()
    ):
        raise InvalidBatch(batch_id, "a request took less than no time", LATENCY)
    return rows.select([*columns, *nullable, *features])
