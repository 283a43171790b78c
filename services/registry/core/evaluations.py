"""What versions scored: the evidence that gates judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.common.resources import Meta
from services.registry.core.canonical import Json


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores on the rows that share a value of a slicing column."""

    column: str
    value: str
    rows: int
    metrics: Mapping[str, float]


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
    """

    snapshot: str
    split: str
    split_digest: str
    rows: int
    metrics: Mapping[str, float]
    slices: tuple[SliceScores, ...]
    evaluator: str

    def as_json(self) -> Json:
        """These scores as evidence."""
        return {
            "snapshot": self.snapshot,
            "split": self.split,
            "split_digest": self.split_digest,
            "rows": self.rows,
            "metrics": dict(self.metrics),
            "slices": [
                [part.column, part.value, part.rows, dict(part.metrics)] for part in self.slices
            ],
        }

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
