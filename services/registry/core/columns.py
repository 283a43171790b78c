"""What is known of a snapshot's columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

DISTINCT_CAP: Final = 10_000
TOP_VALUES: Final = 10


class ColumnType(StrEnum):
    """The types of canonical files, as Arrow writes them; every other is cast to one."""

    INT64 = "int64"
    FLOAT64 = "double"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp[us, tz=UTC]"
    DATE = "date32[day]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a snapshot's schema."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class ValueCount:
    """One value of a column and how many rows have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """What one column holds.

    Attributes:
        column: Its name and type.
        null_count: Rows without a value; NaN and infinities count as none.
        minimum: Smallest value of a number, None for other types and empty columns.
        maximum: Largest value, likewise.
        mean: Arithmetic mean, likewise; of a bool, the share of true.
        distinct_count: Distinct values that aren't null, counted up to `DISTINCT_CAP`.
        top_values: The `TOP_VALUES` most frequent values of a string or bool,
            most frequent first, ties in order of value.
    """

    column: Column
    null_count: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    distinct_count: int
    top_values: tuple[ValueCount, ...]


@dataclass(frozen=True, slots=True)
class CleaningCounts:
    """What became of the rows that were read; the last three add up to the first."""

    rows_read: int
    duplicates: int
    unusable: int
    rows_kept: int

    def __add__(self, other: CleaningCounts) -> CleaningCounts:
        """The counts of both."""
        return CleaningCounts(
            self.rows_read + other.rows_read,
            self.duplicates + other.duplicates,
            self.unusable + other.unusable,
            self.rows_kept + other.rows_kept,
        )


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """First and last value of the time column, both inclusive, UTC."""

    start: datetime
    end: datetime

    def __or__(self, other: TimeWindow) -> TimeWindow:
        """The smallest window that holds both."""
        return TimeWindow(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class CleanedTable:
    """What a file turned out to hold.

    Attributes:
        schema: Its columns, in order.
        counts: What became of its rows.
        columns: A report on each column over the rows kept, in the schema's order.
        window: First and last time; None without a time column or without rows.
    """

    schema: tuple[Column, ...]
    counts: CleaningCounts
    columns: tuple[ColumnReport, ...]
    window: TimeWindow | None
