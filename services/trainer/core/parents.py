"""What a job takes over from its parent version, and how the two are held against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from services.trainer.core.failures import NotAsGood
from services.trainer.core.fairness import ColumnFairness
from services.trainer.core.objectives import Predicted
from services.trainer.core.scores import Scores, SliceScores
from services.trainer.core.tasks import Metric, Task


class Mode(StrEnum):
    """What is taken over. The values are names of the contract."""

    FULL = "MODE_FULL"
    DISTILLATION = "MODE_DISTILLATION"
    QUANTIZATION = "MODE_QUANTIZATION"
    WARM_START = "MODE_WARM_START"
    PRUNING = "MODE_PRUNING"
    INCREMENTAL = "MODE_INCREMENTAL"

    @property
    def goes_on(self) -> bool:
        """Whether the parent's weights and preprocessing are trained further."""
        return self in (Mode.WARM_START, Mode.INCREMENTAL)

    @property
    def keeps_the_graph(self) -> bool:
        """Whether the parent's graph is changed and nothing trained: its calibration stays."""
        return self in (Mode.QUANTIZATION, Mode.PRUNING)


@dataclass(frozen=True, slots=True)
class MaximumLoss:
    """What a version may lose against its parent on the validation part; what its task tells.

    Attributes:
        auc: By which it may be lower.
        log_loss: Nats by which it may be higher.
        balanced_accuracy: By which it may be lower.
        rmse: Part of the parent's by which it may be higher.
        mae: Part of the parent's by which it may be higher.
    """

    auc: float = 0.0
    log_loss: float = 0.0
    balanced_accuracy: float = 0.0
    rmse: float = 0.0
    mae: float = 0.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How nearly a version tells what its parent tells; labels play no part.

    Attributes:
        agreement: Share of rows to which both give the same label; None of quantities.
        mean_difference: Mean over the rows of the largest difference of a probability, or of the
            difference of the quantity, in its unit.
        largest_difference: Largest one.
    """

    agreement: float | None
    mean_difference: float
    largest_difference: float

    def __str__(self) -> str:
        apart = (
            f"{self.mean_difference:.4f} apart on average, {self.largest_difference:.4f} at most"
        )
        if self.agreement is None:
            return f"predictions {apart}"
        return f"the same label in {self.agreement:.1%} of the test part, probabilities {apart}"

    @property
    def values(self) -> dict[str, float]:
        """Each that is defined, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A version beside its parent.

    Attributes:
        parent: Resource name of the parent.
        parent_digest: Of its manifest.
        validation: What the parent scored on the validation part.
        scores: What it scores on the test part.
        slices: Of the test part.
        fidelity: Of the version to the parent on the test part.
        batch_difference: Largest difference between what the version gives a row alone and among
            others: not 0 where ranges of activations are those of a batch.
        size_bytes: Of the version's graph.
        parent_size_bytes: Of the parent's.
        fairness: What the parent decides for groups of the test part.
    """

    parent: str
    parent_digest: str
    validation: Mapping[str, float]
    scores: Scores
    slices: Sequence[SliceScores]
    fidelity: Fidelity
    batch_difference: float
    size_bytes: int
    parent_size_bytes: int
    fairness: tuple[ColumnFairness, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """What an evaluation of the version on the test part says of it beside its scores."""
        return {
            **{f"fidelity.{name}": value for name, value in self.fidelity.values.items()},
            "graph.batch_difference": self.batch_difference,
            "graph.size_bytes": float(self.size_bytes),
            "parent.graph.size_bytes": float(self.parent_size_bytes),
            **{f"parent.{name}": value for name, value in self.scores.values.items()},
        }


def fidelity(told: Predicted, parent: Predicted, task: Task) -> Fidelity:
    """How nearly `told` is what the parent tells, both of the same rows, at least one.

    Args:
        told: As `Predicted` of `task`.
        parent: As `told`.
        task: What both do.
    """
    difference = np.abs(told.astype(np.float64) - parent.astype(np.float64))
    if difference.ndim > 1:
        difference = difference.max(axis=1)
    return Fidelity(
        agreement=_agreement(told, parent, task),
        mean_difference=float(difference.mean()),
        largest_difference=float(difference.max()),
    )


def _agreement(told: Predicted, parent: Predicted, task: Task) -> float | None:
    match task:
        case Task.BINARY:
            return float(np.mean((told > 0.5) == (parent > 0.5)))
        case Task.MULTICLASS:
            return float(np.mean(told.argmax(axis=1) == parent.argmax(axis=1)))
        case Task.REGRESSION:
            return None


def loses_little(
    found: Mapping[str, float], parent: Mapping[str, float], maximum: MaximumLoss, task: Task
) -> bool:
    """Whether scores are worse than those of the parent by no more than they may be."""
    return all(
        lost <= getattr(maximum, metric) for metric, lost in _lost(found, parent, task).items()
    )


def check_losses(
    who: str,
    found: Mapping[str, float],
    parent: Mapping[str, float],
    *,
    maximum: MaximumLoss,
    task: Task,
) -> None:
    """That a version is not worse than its parent by more than it may be.

    Args:
        who: Algorithm that made it.
        found: What it scored on the validation part.
        parent: What the parent scored there.
        maximum: What it may lose.
        task: What both do.

    Raises:
        NotAsGood: It loses more by a metric.
    """
    if loses_little(found, parent, maximum, task):
        return
    told = "; ".join(
        f"{metric} {found[metric]:.4f} instead of {parent[metric]:.4f}, which loses {lost:+.4f} "
        f"of at most {getattr(maximum, metric):g}"
        for metric, lost in _lost(found, parent, task).items()
    )
    raise NotAsGood(
        f"{who} loses more against parent_version than maximum_loss allows: "
        f"on the validation part it has {told}"
    )


def _lost(
    found: Mapping[str, float], parent: Mapping[str, float], task: Task
) -> dict[Metric, float]:
    """By how much each metric is worse; errors of quantities, in any unit, as parts."""
    lost = {}
    for metric in task.meaning.losses:
        mine, theirs = found[metric], parent[metric]
        worse = theirs - mine if metric.higher_is_better else mine - theirs
        lost[metric] = worse if task.meaning.has_classes else _part(worse, theirs)
    return lost


def _part(worse: float, theirs: float) -> float:
    if theirs:
        return worse / theirs
    return math.inf if worse else 0.0
