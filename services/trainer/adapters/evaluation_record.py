"""Scores as the registry keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from roundhouse.registry.v1.evaluation_pb2 import Evaluation

from services.trainer.core.fairness import ColumnFairness
from services.trainer.core.purposes import Purpose
from services.trainer.core.scores import Scores, SliceScores

_Value = TypeVar("_Value")


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
        further: What is known of it beside its scores, by metric.
        uncalibrated: Over all rows, without the version's calibration; None where it has none.
        fairness: What was decided for groups of the rows.
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
    further: Mapping[str, float] = field(default_factory=dict)
    uncalibrated: Scores | None = None
    fairness: tuple[ColumnFairness, ...] = ()


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
            **record.further,
            **_merged(found.metrics for found in record.fairness),
        },
        standard_errors={
            **record.scores.standard_errors,
            **_merged(found.standard_errors for found in record.fairness),
        },
        purpose=Evaluation.Purpose.Value(f"PURPOSE_{record.purpose.value}"),
        slices=[_slice(found, record.fairness) for found in record.slices],
        evaluator=record.evaluator,
        reliability=_bins(record.scores),
    )
    before = record.uncalibrated
    if before is not None:
        evaluation.uncalibrated.CopyFrom(
            Evaluation.Uncalibrated(metrics=before.values, reliability=_bins(before))
        )
    return evaluation


def _slice(found: SliceScores, fairness: Sequence[ColumnFairness]) -> Evaluation.Slice:
    """Its scores, and its rates where it is a group."""
    columns = [each for each in fairness if each.column == found.column]
    rates = _merged(each.of_group(found.value) for each in columns)
    errors = {name: rate.standard_error for name, rate in rates.items()}
    return Evaluation.Slice(
        column=found.column,
        value=found.value,
        rows=found.scores.rows,
        metrics={**found.scores.metrics, **{name: rate.value for name, rate in rates.items()}},
        standard_errors={**found.scores.standard_errors, **errors},
    )


def _merged(parts: Iterable[Mapping[str, _Value]]) -> dict[str, _Value]:
    return {name: value for part in parts for name, value in part.items()}


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
