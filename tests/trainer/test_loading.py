"""Parquet into arrays, and the snapshots that can't be trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from services.trainer.adapters.learning.loading import load_table
from services.trainer.core.failures import DataFault
from services.trainer.core.spec import Feature, FeatureKind
from services.trainer.core.splits import SplitMethod
from tests.support.trainer_values import arrow_rows, parquet_of, spec


def test_missing_numbers_are_nan_and_missing_words_empty() -> None:
    source = arrow_rows()
    table = load_table([parquet_of(source)], spec())
    assert np.isnan(table.numeric["wind"]).sum() == source["wind"].null_count > 0
    assert (table.categorical["carrier"] == "").sum() == source["carrier"].null_count > 0
    assert table.numeric["wind"].dtype == np.float32
    assert list(table.features) == ["distance", "wind", "origin", "carrier"]
    assert set(table.slices) == {"origin"}


def test_files_follow_each_other_in_their_order() -> None:
    first, second = arrow_rows(100, 1), arrow_rows(50, 2)
    table = load_table([parquet_of(first), parquet_of(second)], spec())
    assert list(table.label) == first["late"].to_pylist() + second["late"].to_pylist()
    assert table.event_time_us[0] == first["event_time"][0].value


def test_groups_of_any_type_are_read_as_words_and_none_may_be_missing() -> None:
    source = arrow_rows(100).append_column("plane", pa.array([7, 8] * 50))
    grouped = spec(split_method=SplitMethod.GROUPED, group_column="plane")
    table = load_table([parquet_of(source)], grouped)
    assert table.groups is not None
    assert table.groups[:3].tolist() == ["7", "8", "7"]
    with pytest.raises(DataFault, match=r"split\.group_column carrier is missing"):
        load_table([parquet_of(source)], replace(grouped, group_column="carrier"))


def test_a_boolean_target_and_boolean_features_are_numbers() -> None:
    source = arrow_rows(100)
    late = pa.array([bool(value) for value in source["late"].to_pylist()])
    source = source.set_column(5, "late", late).append_column("wet", late)
    features = (Feature("wet", FeatureKind.NUMERIC),)
    table = load_table([parquet_of(source)], spec(features=features))
    assert list(table.label) == list(table.numeric["wet"])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("late", pa.array([2] * 100)),
        ("late", pa.array([None] + [1] * 99, pa.int64())),
        ("late", pa.array(["yes"] * 100)),
        ("distance", pa.array(["far"] * 100)),
        ("distance", pa.array([1e300] * 100)),
        ("origin", pa.array([1] * 100)),
        ("event_time", pa.array(["2013"] * 100)),
        ("event_time", pa.array([None] * 100, pa.timestamp("us"))),
    ],
)
def test_a_column_that_its_role_cannot_take_is_a_data_fault(column: str, values: pa.Array) -> None:
    source = arrow_rows(100)
    index = source.schema.get_field_index(column)
    with pytest.raises(DataFault, match=column):
        load_table([parquet_of(source.set_column(index, column, values))], spec())


def test_a_missing_column_is_a_data_fault() -> None:
    with pytest.raises(DataFault, match="wind"):
        load_table([parquet_of(arrow_rows(100).drop_columns(["wind"]))], spec())


def test_words_that_identify_rows_are_a_data_fault() -> None:
    source = arrow_rows(1500)
    names = pa.array([f"flight-{number}" for number in range(1500)])
    source = source.set_column(source.schema.get_field_index("carrier"), "carrier", names)
    with pytest.raises(DataFault, match="1500 values"):
        load_table([parquet_of(source)], spec())
