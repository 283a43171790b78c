from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.adapters.parquet.cleaner import ArrowTableCleaner
from services.registry.core.columns import CleanedTable, CleaningCounts, ColumnReport
from services.registry.core.errors import ColumnNotFound, SchemaMismatch, UnreadableFile
from services.registry.core.snapshots import CleaningRules, TableFormat

CLEANER = ArrowTableCleaner()


def rules(keys: Sequence[str] = (), required: Sequence[str] = (), time: str = "") -> CleaningRules:
    return CleaningRules(tuple(keys), tuple(required), time)


def clean(
    data: bytes,
    cleaning: CleaningRules | None = None,
    *,
    file_format: TableFormat = TableFormat.CSV,
    earlier: Sequence[bytes] = (),
) -> tuple[CleanedTable, bytes]:
    target = io.BytesIO()
    table = CLEANER.clean(
        io.BytesIO(data),
        target,
        path="a",
        file_format=file_format,
        rules=cleaning or rules(),
        earlier=[io.BytesIO(file) for file in earlier],
    )
    return table, target.getvalue()


def rows(parquet: bytes) -> list[dict[str, object]]:
    return pq.read_table(io.BytesIO(parquet)).to_pylist()


def parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def report(table: CleanedTable, name: str) -> ColumnReport:
    return next(column for column in table.columns if column.column.name == name)


def test_types_are_inferred_and_reported() -> None:
    table, stored = clean(
        b"n,x,s,b,t,d\n"
        b"1,1.5,AA,true,2013-01-01T05:00:00Z,2013-01-01\n"
        b"3,NA,UA,false,2013-01-02T05:00:00Z,2013-01-02\n"
        b"2,0.5,AA,true,2013-01-01T00:00:00Z,2013-01-03\n",
        rules(time="t"),
    )
    types = [column.type.value for column in table.schema]
    assert types == ["int64", "double", "string", "bool", "timestamp[us, tz=UTC]", "date32[day]"]
    number = report(table, "n")
    assert (number.minimum, number.maximum, number.mean) == (1.0, 3.0, 2.0)
    assert report(table, "x").null_count == 1
    assert [(entry.value, entry.count) for entry in report(table, "s").top_values] == [
        ("AA", 2),
        ("UA", 1),
    ]
    assert table.window is not None
    assert table.window.start == datetime(2013, 1, 1, tzinfo=UTC)
    assert table.window.end == datetime(2013, 1, 2, 5, tzinfo=UTC)
    assert len(rows(stored)) == 3


def test_unusable_rows_go_before_duplicates_and_the_first_of_those_stays() -> None:
    table, stored = clean(b"id,x\n1,NA\n1,2\n1,3\n2,4\nNA,5\n", rules(["id"], ["x"]))
    assert table.counts == CleaningCounts(rows_read=5, duplicates=1, unusable=2, rows_kept=2)
    assert rows(stored) == [{"id": 1, "x": 2}, {"id": 2, "x": 4}]


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 5)),
        st.one_of(st.none(), st.sampled_from([0.0, 1.5, -2.0])),
        st.one_of(st.none(), st.sampled_from(["a", "b"])),
    ),
    max_size=20,
)


@given(ROWS, ROWS, st.sampled_from([(), ("k",), ("k", "s")]), st.sampled_from([(), ("x",)]))
def test_two_files_keep_what_a_plain_loop_keeps_of_their_rows_in_order(
    first: list[tuple[int | None, float | None, str | None]],
    second: list[tuple[int | None, float | None, str | None]],
    keys: tuple[str, ...],
    required: tuple[str, ...],
) -> None:
    schema = pa.schema([("k", pa.int64()), ("x", pa.float64()), ("s", pa.string())])
    cleaning = rules(keys, required)
    seen: set[tuple[object, ...]] = set()
    stored: list[bytes] = []
    for part in (first, second):
        expected = []
        counts = {"unusable": 0, "duplicates": 0}
        for row in part:
            values = dict(zip(schema.names, row, strict=True))
            key = tuple(values[name] for name in keys or schema.names)
            if any(values[name] is None for name in (*required, *keys)):
                counts["unusable"] += 1
            elif key in seen:
                counts["duplicates"] += 1
            else:
                seen.add(key)
                expected.append(values)
        upload = parquet(
            pa.Table.from_pylist(
                [dict(zip(schema.names, row, strict=True)) for row in part], schema=schema
            )
        )
        table, kept = clean(upload, cleaning, file_format=TableFormat.PARQUET, earlier=stored)
        stored.append(kept)
        assert rows(kept) == expected
        assert table.counts == CleaningCounts(len(part), rows_kept=len(expected), **counts)


def test_the_report_on_several_files_counts_what_they_share_once() -> None:
    _, first = clean(b"s,n\na,1\nb,2\n")
    _, second = clean(b"s,n\na,3\nc,4\n", earlier=[first])
    texts, numbers = CLEANER.report([io.BytesIO(first), io.BytesIO(second)])
    assert texts.distinct_count == 3
    assert texts.top_values[0].count == 2
    assert (numbers.minimum, numbers.maximum, numbers.mean) == (1.0, 4.0, 2.5)


def test_many_distinct_values_are_counted_up_to_the_cap() -> None:
    table, _ = clean(b"n\n" + b"".join(b"%d\n" % number for number in range(10_050)))
    assert report(table, "n").distinct_count == 10_000


def test_values_that_are_not_finite_are_none() -> None:
    upload = parquet(pa.table({"x": [1.0, float("nan"), float("inf"), None]}))
    table, stored = clean(upload, rules(required=["x"]), file_format=TableFormat.PARQUET)
    assert rows(stored) == [{"x": 1.0}]
    assert table.counts.unusable == 3


def test_narrow_encoded_and_zoneless_columns_become_canonical() -> None:
    upload = parquet(
        pa.table(
            {
                "i": pa.array([1], pa.int8()),
                "f": pa.array([0.5], pa.float32()),
                "d": pa.array(["a"]).dictionary_encode(),
                "t": pa.array([1357016400000000000], pa.timestamp("ns")),
                "z": pa.array([1357016400], pa.timestamp("s", tz="America/New_York")),
            }
        )
    )
    table, stored = clean(upload, file_format=TableFormat.PARQUET)
    kinds = [column.type.value for column in table.schema]
    assert kinds == ["int64", "double", "string"] + ["timestamp[us, tz=UTC]"] * 2
    (row,) = rows(stored)
    assert row["t"] == row["z"] == datetime(2013, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        (b"", {}),
        (b"a,b\n1,2\n3\n", {"row": "3"}),
        (b"a,b\n1,2\n3,4,5\n", {"row": "3"}),
        (b"a,a\n1,2\n", {"column": "a"}),
        (b"a,\n1,2\n", {}),
        (b"a\nx\n\xff\xfe\n", {"column": "a", "row": "3"}),
    ],
)
def test_a_malformed_csv_is_refused_with_its_place(data: bytes, metadata: dict[str, str]) -> None:
    with pytest.raises(UnreadableFile) as refused:
        clean(data)
    assert refused.value.metadata == {"path": "a", "format": "CSV", **metadata}


@pytest.mark.parametrize("data", [b"", b"PAR1 but not really PAR1", b"a,b\n1,2\n"])
def test_a_malformed_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        clean(data, file_format=TableFormat.PARQUET)


def test_a_column_of_lists_or_too_large_numbers_is_refused_by_name() -> None:
    for column in (pa.array([[1]]), pa.array([2**64 - 1], pa.uint64())):
        with pytest.raises(UnreadableFile) as refused:
            clean(parquet(pa.table({"c": column})), file_format=TableFormat.PARQUET)
        assert refused.value.metadata["column"] == "c"


def test_declared_columns_must_exist_and_time_must_be_one() -> None:
    with pytest.raises(ColumnNotFound) as missing:
        clean(b"a\n1\n", rules(["k"], ["a", "x"]))
    assert missing.value.metadata["column"] == "x,k"
    with pytest.raises(UnreadableFile) as untimely:
        clean(b"a\n1\n", rules(time="a"))
    assert untimely.value.metadata["column"] == "a"


def test_a_second_file_must_have_the_first_ones_schema() -> None:
    _, first = clean(b"n,s,x\n1,a,0.5\n")
    with pytest.raises(SchemaMismatch) as refused:
        clean(b"n,t,x\n1,a,0.5\n", earlier=[first])
    assert refused.value.metadata["column"] == "t,s"
    with pytest.raises(SchemaMismatch) as unparsed:
        clean(b"n,s,x\none,a,0.5\n", earlier=[first])
    assert unparsed.value.metadata["column"] == "n"
    wide = parquet(pa.table({"n": [1.5], "s": ["a"], "x": [0.5]}))
    with pytest.raises(SchemaMismatch) as typed:
        clean(wide, file_format=TableFormat.PARQUET, earlier=[first])
    assert typed.value.metadata["column"] == "n"


def test_a_second_file_keeps_leading_zeros_whole_floats_and_empty_columns() -> None:
    _, first = clean(b"s,x,n\nN12,0.5,1\n")
    _, second = clean(b"x,n,s\n2,NA,007\n", earlier=[first])
    assert rows(second) == [{"s": "007", "x": 2.0, "n": None}]
