"""Parquet into the arrays that models are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.trainer.adapters.learning.labels import labels_of
from services.trainer.core.failures import DataFault
from services.trainer.core.spec import FeatureKind, JobSpec
from services.trainer.core.tables import Strings, Table

MAX_CATEGORIES = 1000
"""Values of one categorical feature; one-hot columns beyond that are an identifier in disguise."""


def load_table(
    files: Sequence[pa.BufferReader | str],
    spec: JobSpec,
    classes: Sequence[str] | None = None,
) -> Table:
    """The columns that `spec` names, of all `files` in their order.

    Args:
        files: Parquet.
        spec: Says what is read.
        classes: See `labels_of`.

    Raises:
        DataFault: A column is missing or has a type that its role can't take, a row lacks its
            label, its time or its group, or a categorical feature has more than 1,000 values.
    """
    wanted = [
        *(feature.name for feature in spec.features),
        *spec.slices,
        spec.target,
        spec.time_column,
        *([spec.group_column] if spec.group_column else []),
    ]
    parts = [_read(file, list(dict.fromkeys(wanted))) for file in files]
    if not parts:
        raise DataFault("the snapshot has no file")
    arrow = pa.concat_tables(parts, promote_options="permissive")
    label, names = labels_of(arrow.column(spec.target), spec.target, spec.task, classes)
    return Table(
        numeric={name: _numeric(arrow, name) for name in spec.named(FeatureKind.NUMERIC)},
        categorical={
            name: _categorical(arrow, name) for name in spec.named(FeatureKind.CATEGORICAL)
        },
        label=label,
        text={name: _text(arrow, name) for name in spec.named(FeatureKind.TEXT)},
        classes=names,
        event_time_us=_event_time_us(arrow, spec.time_column),
        slices={name: _strings(arrow, name) for name in spec.slices},
        groups=_groups(arrow, spec.group_column) if spec.group_column else None,
    )


def _read(file: pa.BufferReader | str, columns: list[str]) -> pa.Table:
    parquet = pq.ParquetFile(file)
    missing = [name for name in columns if name not in parquet.schema_arrow.names]
    if missing:
        raise DataFault(f"the snapshot has no column {', '.join(missing)}")
    return parquet.read(columns=columns)


def _numeric(arrow: pa.Table, name: str) -> npt.NDArray[np.float32]:
    column = arrow.column(name)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataFault(f"numeric feature {name} has type {kind}")
    with np.errstate(over="ignore"):
        values = column.cast(pa.float64()).to_numpy().astype(np.float32)
    if np.isinf(values).any():
        raise DataFault(f"numeric feature {name} has values beyond the range of float32")
    return cast("npt.NDArray[np.float32]", values)


def _text(arrow: pa.Table, name: str) -> Strings:
    _check_string(arrow, name, "text")
    return _strings(arrow, name)


def _check_string(arrow: pa.Table, name: str, role: str) -> None:
    kind = arrow.column(name).type
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
        raise DataFault(f"{role} feature {name} has type {kind}; it must be a string")


def _categorical(arrow: pa.Table, name: str) -> Strings:
    _check_string(arrow, name, "categorical")
    count = pc.count_distinct(arrow.column(name).cast(pa.string())).as_py()
    if count > MAX_CATEGORIES:
        raise DataFault(
            f"categorical feature {name} has {count} values; at most {MAX_CATEGORIES} are allowed"
        )
    return _strings(arrow, name)


def _strings(arrow: pa.Table, name: str) -> Strings:
    encoded = pc.fill_null(arrow.column(name).cast(pa.string()), "").combine_chunks()
    dictionary = encoded.dictionary_encode()
    values = np.array(dictionary.dictionary.to_pylist(), dtype=object)
    codes: npt.NDArray[Any] = dictionary.indices.to_numpy()  # int32, as Arrow chooses
    return cast("Strings", values[codes])


def _groups(arrow: pa.Table, name: str) -> Strings:
    groups = _strings(arrow, name)
    missing = int(np.sum(groups == ""))
    if missing:
        raise DataFault(f"split.group_column {name} is missing in {missing} rows")
    return groups


def _event_time_us(arrow: pa.Table, name: str) -> npt.NDArray[np.int64]:
    column = arrow.column(name)
    if not pa.types.is_timestamp(column.type):
        raise DataFault(f"time column {name} has type {column.type}; it must be a timestamp")
    if column.null_count:
        raise DataFault(f"time column {name} is missing in {column.null_count} rows")
    micros = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    return cast("npt.NDArray[np.int64]", micros.to_numpy())
