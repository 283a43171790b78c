"""Scores as the registry keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from roundhouse.registry.v1.evaluation_pb2 import Evaluation

from services.trainer.core.purposes import Purpose
from services.trainer.core.scores import Scores, SliceScores


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """Scores to be recorded.

    Attributes:
        version: That was scored.
        snapshot: The rows are from.
        split: Part of it.
        split_digest: Identity of the rows.
        scores: Over all rows.
        slices: Over slices.
        evaluator: Job that measured it.
        purpose: What the rows were used for.
        latency_ms: Of one row, by metric; differs from one measurement to the next.
        beside_parent: What is known of it beside its parent, by metric.
        uncalibrated: Over all rows, without the version's calibration; None where it has none.
    """

    version: str
    snapshot: str
    split: str
    split_digest: str
    scores: Scores
    slices: Sequence[SliceScores]
    evaluator: str
    purpose: Purpose
    latency_ms: Mapping[str, float]
    beside_parent: Mapping[str, float] = field(default_factory=dict)
    uncalibrated: Scores | None = None


def evaluation_to_proto(record: EvaluationRecord) -> Evaluation:
    """The evaluation that the registry is to keep."""
    evaluation = Evaluation(
        snapshot=record.snapshot,
        split=record.split,
        split_digest=record.split_digest,
        rows=record.scores.rows,
        metrics={
            **record.scores.metrics,
            **record.scores.by_class,
            **record.latency_ms,
            **record.beside_parent,
        },
        standard_errors=record.scores.standard_errors,
        purpose=Evaluation.Purpose.Value(f"PURPOSE_{record.purpose.value}"),
        slices=[
            Evaluation.Slice(
                column=found.column,
                value=found.value,
                rows=found.scores.rows,
                metrics=found.scores.metrics,
                standard_errors=found.scores.standard_errors,
            )
            for found in record.slices
        ],
        evaluator=record.evaluator,
        reliability=_bins(record.scores),
    )
    before = record.uncalibrated
    if before is not None:
        evaluation.uncalibrated.CopyFrom(
            Evaluation.Uncalibrated(metrics=before.values, reliability=_bins(before))
        )
    return evaluation


def _bins(scores: Scores) -> list[Evaluation.ReliabilityBin]:
    return [
        Evaluation.ReliabilityBin(
            lower=each.lower,
            upper=each.upper,
            rows=each.rows,
            mean_score=each.mean_score,
            frequency=each.frequency,
        )
        for each in scores.reliability
    ]
