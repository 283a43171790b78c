"""What a job takes over from its parent version, and how the two are held against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from services.trainer.core.failures import NotAsGood
from services.trainer.core.fairness import ColumnFairness
from services.trainer.core.scores import Probabilities, Scores, SliceScores


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
    """What a version may lose against its parent on the validation part.

    Attributes:
        auc: By which it may be lower.
        log_loss: Nats by which it may be higher.
    """

    auc: float = 0.0
    log_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How nearly a version gives the probabilities of its parent; labels play no part.

    Attributes:
        agreement: Share of rows to which both give the same label.
        mean_difference: Mean absolute difference of the probabilities of label 1.
        largest_difference: Largest one.
    """

    agreement: float
    mean_difference: float
    largest_difference: float


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
            "fidelity.agreement": self.fidelity.agreement,
            "fidelity.mean_difference": self.fidelity.mean_difference,
            "fidelity.largest_difference": self.fidelity.largest_difference,
            "graph.batch_difference": self.batch_difference,
            "graph.size_bytes": float(self.size_bytes),
            "parent.graph.size_bytes": float(self.parent_size_bytes),
            **{f"parent.{name}": value for name, value in self.scores.values.items()},
        }


def fidelity(probability: Probabilities, parent: Probabilities) -> Fidelity:
    """How nearly `probability` is `parent`, each [rows] of the same rows, at least one."""
    difference = np.abs(probability.astype(np.float64) - parent.astype(np.float64))
    return Fidelity(
        agreement=float(np.mean((probability > 0.5) == (parent > 0.5))),
        mean_difference=float(difference.mean()),
        largest_difference=float(difference.max()),
    )


def loses_little(
    found: Mapping[str, float], parent: Mapping[str, float], maximum: MaximumLoss
) -> bool:
    """Whether scores are worse than those of the parent by no more than they may be."""
    lost = _lost(found, parent)
    return all(lost[name] <= most for name, most in asdict(maximum).items())


def _lost(found: Mapping[str, float], parent: Mapping[str, float]) -> dict[str, float]:
    return {
        "auc": parent["auc"] - found["auc"],
        "log_loss": found["log_loss"] - parent["log_loss"],
    }


def check_losses(
    who: str, found: Mapping[str, float], parent: Mapping[str, float], maximum: MaximumLoss
) -> None:
    """That a version is not worse than its parent by more than it may be.

    Args:
        who: Algorithm that made it.
        found: What it scored on the validation part.
        parent: What the parent scored there.
        maximum: What it may lose.

    Raises:
        NotAsGood: It loses more by a metric.
    """
    allowed, lost = asdict(maximum), _lost(found, parent)
    if loses_little(found, parent, maximum):
        return
    told = "; ".join(
        f"{name} {found[name]:.4f} instead of {parent[name]:.4f}, which loses {lost[name]:+.4f} "
        f"of at most {most:g}"
        for name, most in allowed.items()
    )
    raise NotAsGood(
        f"{who} loses more against parent_version than maximum_loss allows: "
        f"on the validation part it has {told}"
    )
