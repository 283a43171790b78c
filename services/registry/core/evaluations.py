"""What versions scored: the evidence that gates judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from services.common.resources import Meta
from services.registry.core.canonical import Json


class Purpose(StrEnum):
    """What an evaluation's rows are used for; see `Evaluation.Purpose` in evaluation.proto."""

    TEST = "TEST"
    SELECTION = "SELECTION"
    BASELINE = "BASELINE"
    MONITORING = "MONITORING"

    @staticmethod
    def of_split(split: str) -> Purpose:
        """What the rows of a part are for where nobody says."""
        return _PURPOSES.get(split, Purpose.MONITORING)


_PURPOSES: Final = {"test": Purpose.TEST, "validation": Purpose.SELECTION}


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores on the rows that share a value of a slicing column."""

    column: str
    value: str
    rows: int
    metrics: Mapping[str, float]
    standard_errors: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> Json:
        """These scores as evidence."""
        listed: list[Json] = [self.column, self.value, self.rows, dict(self.metrics)]
        return [*listed, dict(self.standard_errors)] if self.standard_errors else listed


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Promise and outcome of the rows whose score is in one interval."""

    lower: float
    upper: float
    rows: int
    mean_score: float
    frequency: float


@dataclass(frozen=True, slots=True)
class Uncalibrated:
    """What rows scored before a version's calibration.

    Attributes:
        metrics: Finite scores by metric.
        reliability: As in `Scores`.
    """

    metrics: Mapping[str, float]
    reliability: tuple[ReliabilityBin, ...] = ()

    def as_json(self) -> Json:
        """These scores as evidence."""
        return {"metrics": dict(self.metrics), "reliability": _as_json(self.reliability)}


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured, on which rows.

    Attributes:
        snapshot: Resource name of the snapshot that the rows are from.
        split: Part of the snapshot, such as `test`.
        split_digest: Of the part's row indices: equal digests are equal rows.
        rows: How many were scored.
        metrics: Finite scores by metric.
        evaluator: Job or tool that measured; may be empty.
        purpose: What the rows were used for.
        standard_errors: Of those metrics that have one.
        reliability: By ascending interval; together they hold each row once. May be empty.
        uncalibrated: The same rows without the calibration; None where nobody measured it.
    """

    snapshot: str
    split: str
    split_digest: str
    rows: int
    metrics: Mapping[str, float]
    slices: tuple[SliceScores, ...]
    evaluator: str
    purpose: Purpose = Purpose.TEST
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    uncalibrated: Uncalibrated | None = None

    def as_json(self) -> Json:
        """These scores as evidence; what is unset leaves no trace."""
        scores: dict[str, Json] = {
            "snapshot": self.snapshot,
            "split": self.split,
            "split_digest": self.split_digest,
            "rows": self.rows,
            "metrics": dict(self.metrics),
            "slices": [part.as_json() for part in self.slices],
        }
        if self.standard_errors:
            scores["standard_errors"] = dict(self.standard_errors)
        if self.reliability:
            scores["reliability"] = _as_json(self.reliability)
        if self.uncalibrated is not None:
            scores["uncalibrated"] = self.uncalibrated.as_json()
        return scores

    def stands_on_the_rows_of(self, other: Scores) -> bool:
        """Whether both were measured on the very same rows."""
        return (self.snapshot, self.split_digest, self.rows) == (
            other.snapshot,
            other.split_digest,
            other.rows,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one version scored. Immutable.

    Attributes:
        meta: `…/versions/{n}/evaluations/{e}`.
        artifact_digest: Of the version that was scored.
    """

    meta: Meta
    artifact_digest: str
    scores: Scores

    def as_json(self) -> Json:
        """This evaluation as evidence."""
        return {"artifact_digest": self.artifact_digest, "scores": self.scores.as_json()}


def _as_json(bins: tuple[ReliabilityBin, ...]) -> list[Json]:
    return [[each.lower, each.upper, each.rows, each.mean_score, each.frequency] for each in bins]
