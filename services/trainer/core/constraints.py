"""What a version may cost to serve: candidates beyond it can't win, however good they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.trainer.core.failures import NothingFits
from services.trainer.core.selection import TrialOutcome, best_trial
from services.trainer.core.tasks import Metric

P99: Final = "latency.p99_ms"
SIZE: Final = "graph.size_bytes"
"""Metrics of a trial whose job has constraints, beside its scores."""

MOST_TOLD: Final = 10
"""Trials that a refusal tells of."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """The most that is allowed; 0 means any.

    Attributes:
        max_p99_ms: 99th percentile of one row a call on one thread.
        max_graph_bytes: Size of `model.onnx`.
    """

    max_p99_ms: float = 0.0
    max_graph_bytes: int = 0

    def __str__(self) -> str:
        return " and ".join(
            f"{name} of at most {most:,g}{unit}" for name, most, unit in self._limits()
        )

    def broken_by(self, measured: Mapping[str, float]) -> list[str]:
        """What of `measured` is beyond it, in words; empty when all is within."""
        return [
            f"{name} {measured[name]:,.6g}{unit} of at most {most:,g}"
            for name, most, unit in self._limits()
            if measured[name] > most
        ]

    def _limits(self) -> Iterator[tuple[str, float, str]]:
        for name, most, unit in (
            (P99, self.max_p99_ms, " ms"),
            (SIZE, self.max_graph_bytes, " bytes"),
        ):
            if most:
                yield name, most, unit


def fitting(
    trials: Sequence[TrialOutcome], constraints: Constraints | None
) -> Sequence[TrialOutcome]:
    """The trials that may win; all of them where there are no constraints.

    Raises:
        NothingFits: There are trials, and all are beyond the constraints.
    """
    if constraints is None:
        return trials
    fit = [trial for trial in trials if not constraints.broken_by(trial.metrics)]
    if trials and not fit:
        told = "; ".join(
            f"{trial.algorithm} has {', '.join(constraints.broken_by(trial.metrics))}"
            for trial in trials[:MOST_TOLD]
        )
        more = f"; and {len(trials) - MOST_TOLD} more" if len(trials) > MOST_TOLD else ""
        raise NothingFits(f"no candidate is within constraints: {told}{more}")
    return fit


def smallest(trials: Sequence[TrialOutcome], metric: Metric) -> TrialOutcome:
    """The trial with the smallest graph; of equals the best one. At least one."""
    least = min(trial.metrics[SIZE] for trial in trials)
    return best_trial([trial for trial in trials if trial.metrics[SIZE] == least], metric)


def check_fits(who: str, measured: Mapping[str, float], constraints: Constraints) -> None:
    """That the winner is within the constraints also after its retraining.

    Raises:
        NothingFits: It is not.
    """
    broken = constraints.broken_by(measured)
    if broken:
        raise NothingFits(
            f"{who} was within constraints and is no more, trained on train and validation part: "
            f"it has {', '.join(broken)}"
        )


def without_times(metrics: Mapping[str, float]) -> dict[str, float]:
    """What is the same whenever a job is run: no latency."""
    return {name: value for name, value in metrics.items() if name != P99}
