"""Which candidate wins, and whether it beats knowing nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.trainer.core.failures import DataFault
from services.trainer.core.gains import Gain
from services.trainer.core.tasks import Metric, Task


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """A trial that went to its end.

    Attributes:
        index: Position among the job's trials.
        algorithm: Recipe that trained it.
        metrics: What it scored on the validation part.
        refit_parameters: Parameters to retrain it with, such as the best number of rounds.
        fold_means: What it scored on the folds on average; empty without cross-validation.
        gains: Over the trivial baseline on the validation part, by metric.
    """

    index: int
    algorithm: str
    metrics: Mapping[str, float]
    refit_parameters: Mapping[str, float]
    fold_means: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, Gain] = field(default_factory=dict)

    @property
    def deciding_metrics(self) -> Mapping[str, float]:
        """What it is compared by."""
        return self.fold_means or self.metrics


def best_trial(trials: Sequence[TrialOutcome], metric: Metric) -> TrialOutcome:
    """The trial with the best metric, by folds where there are any; of equals, the earliest.

    Raises:
        DataFault: `trials` is empty.
    """
    if not trials:
        raise DataFault("no candidate could be trained; the trials say why")
    sign = -1.0 if metric.higher_is_better else 1.0
    return min(trials, key=lambda trial: (sign * trial.deciding_metrics[metric.value], trial.index))


def beats_baseline(
    metrics: Mapping[str, float], baseline: Mapping[str, float], task: Task = Task.BINARY
) -> bool:
    """Whether a model knows more than the labels alone, by each metric that gains are told in.

    A metric that says nothing of the rows counts for nothing.
    """
    return all(
        metrics[name] > baseline[name] if name.higher_is_better else metrics[name] < baseline[name]
        for name in task.meaning.gains
        if name in baseline
    )
