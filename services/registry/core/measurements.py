"""What a rule can read of a version: its metrics, overall and by slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from services.registry.core.evaluations import SliceScores
from services.registry.core.policies import Comparison, NamedSlice, Reduction, SliceScope, SlicesOf

BUNDLE_SIZE_METRIC: Final = "bundle.size_bytes"
"""Every version has this metric: the size of its files together."""

EVALUATION_AGE_METRIC: Final = "evidence.evaluation_age_s"
"""Since the evaluation was recorded, when the gate is evaluated."""

SNAPSHOT_AGE_METRIC: Final = "evidence.snapshot_age_s"
"""Since the last event time of the evaluation's snapshot, when the gate is evaluated."""

OWN_PREFIXES: Final = ("bundle.", "evidence.")
"""Metrics that the registry measures, so that nobody else records them."""

_ABSENCE: Final = {SNAPSHOT_AGE_METRIC: "can't be told: the snapshot has no time column"}


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything that was measured of one version on one set of rows.

    Attributes:
        metrics: Over all rows, and what the registry measured.
        standard_errors: Of those metrics that have one.
    """

    metrics: Mapping[str, float]
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    slices: tuple[SliceScores, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, with the slice that it stems from where it is one of several."""

    value: float
    standard_error: float | None
    where: str = ""

    def __str__(self) -> str:
        return f"{self.value:.6g}{self.where}"

    def error_of_difference(self, other: Reading) -> float | None:
        """Standard error of the difference of the two, or None where one is not known.

        `sqrt(a^2 + b^2)`, as if they were independent. On the same rows they go together, so
        this is at least the true one.
        """
        if self.standard_error is None or other.standard_error is None:
            return None
        return math.hypot(self.standard_error, other.standard_error)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """There is nothing to compare; why, to follow the subject of a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class Counting:
    """The slices that are large enough to count, at least one; how many were not, in words."""

    slices: tuple[SliceScores, ...]
    left_out: str


def read(
    metric: str, scope: SliceScope | None, comparison: Comparison, measured: Measurements
) -> Reading | Unmeasured:
    """The metric's value in a scope, or why there is none.

    Args:
        metric: Its name.
        scope: A slice, or the worst of several or their gap; None: all rows.
        comparison: Tells which slice is the worst.
        measured: Of the version.
    """
    match scope:
        case None:
            if metric not in measured.metrics:
                return Unmeasured(_ABSENCE.get(metric, "was not measured"))
            return Reading(measured.metrics[metric], measured.standard_errors.get(metric))
        case NamedSlice():
            return _of_slice(metric, scope, measured)
        case SlicesOf():
            return _reduced(metric, scope, comparison, measured)


def counting_slices(scope: SlicesOf, measured: Measurements) -> Counting | Unmeasured:
    """The slices of a column that are large enough, or why there is none."""
    found = [part for part in measured.slices if part.column == scope.column]
    if not found:
        return Unmeasured(f"was not measured: no slice of {scope.column}")
    large = tuple(part for part in found if part.rows >= scope.min_rows)
    if not large:
        return Unmeasured(f"can't be judged: no slice of {scope.column} has {scope.min_rows} rows")
    small = len(found) - len(large)
    return Counting(large, f" ({small} of under {scope.min_rows} rows left out)" if small else "")


def _of_slice(metric: str, scope: NamedSlice, measured: Measurements) -> Reading | Unmeasured:
    for part in measured.slices:
        if (part.column, part.value) == (scope.column, scope.value):
            if part.rows < scope.min_rows:
                return Unmeasured(f"can't be judged: {part.rows} rows are under {scope.min_rows}")
            reading = _of_part(metric, part)
            if isinstance(reading, Unmeasured):
                return reading
            return replace(reading, where=f" ({part.rows} rows)")
    return Unmeasured("was not measured: there is no such slice")


def _of_part(metric: str, part: SliceScores) -> Reading | Unmeasured:
    if metric not in part.metrics:
        return Unmeasured(f"was not measured on {part.column}={part.value}")
    where = f" on {part.column}={part.value} ({part.rows} rows)"
    return Reading(part.metrics[metric], part.standard_errors.get(metric), where)


def _reduced(
    metric: str, scope: SlicesOf, comparison: Comparison, measured: Measurements
) -> Reading | Unmeasured:
    counting = counting_slices(scope, measured)
    if isinstance(counting, Unmeasured):
        return counting
    readings: list[Reading] = []
    for part in counting.slices:
        reading = _of_part(metric, part)
        if isinstance(reading, Unmeasured):
            return reading
        readings.append(reading)
    low = min(readings, key=lambda reading: reading.value)
    high = max(readings, key=lambda reading: reading.value)
    if scope.reduction is Reduction.GAP:
        where = f", from {low.value:.6g}{low.where} to {high.value:.6g}{high.where}"
        return Reading(high.value - low.value, high.error_of_difference(low), where)
    return low if comparison is Comparison.AT_LEAST else high
