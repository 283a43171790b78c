"""What a training job is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.trainer.core.parameters import Parameters
from services.trainer.core.selection import Metric
from services.trainer.core.splits import SplitShares


class FeatureRole(StrEnum):
    """How a feature enters a model."""

    NUMERIC = "NUMERIC"
    CATEGORICAL = "CATEGORICAL"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model to try.

    Attributes:
        algorithm: Name of a recipe.
        parameters: Fixed parameters; what is left out takes the recipe's default.
    """

    algorithm: str
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything that decides what a job trains: the same spec gives the same model.

    Attributes:
        snapshot: Resource name of a sealed dataset snapshot.
        model: Resource name of the model that the winner becomes a version of.
        target: Column to predict; 0, 1, false or true in every row.
        time_column: Timestamp column that orders the rows.
        features: Columns the model sees, by name, in the order of its inputs.
        id_columns: Columns that only identify rows: never features.
        slices: Columns by whose values the evaluation is broken down.
        split: Shares of the parts, in order of time.
        candidates: Models to try, each of them once.
        metric: What validation picks the winner by.
        seed: Start of every random number.
        cores: Processor cores an attempt may keep busy.
        max_attempts: Attempts before the job fails.
        checkpoint_epochs: Epochs between two checkpoints of a trial that has epochs.
    """

    snapshot: str
    model: str
    target: str
    time_column: str
    features: Mapping[str, FeatureRole]
    id_columns: tuple[str, ...]
    slices: tuple[str, ...]
    split: SplitShares
    candidates: tuple[Candidate, ...]
    metric: Metric
    seed: int
    cores: int
    max_attempts: int
    checkpoint_epochs: int

    def named(self, role: FeatureRole) -> tuple[str, ...]:
        """The features of one role, in the order of the spec."""
        return tuple(name for name, given in self.features.items() if given is role)
