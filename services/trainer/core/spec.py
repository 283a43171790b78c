"""What a training job is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from services.trainer.core.acceleration import (
    Acceleration,
    Device,
    acceleration_from_json,
    acceleration_to_json,
)
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.constraints import Constraints
from services.trainer.core.fairness import Fairness
from services.trainer.core.gains import MinimumGain
from services.trainer.core.parallelism import Parallelism, parallelism_from_json
from services.trainer.core.parameters import Parameters
from services.trainer.core.parents import MaximumLoss, Mode
from services.trainer.core.privacy import Privacy, privacy_from_json, privacy_to_json
from services.trainer.core.robustness import USUAL_NOISE, Robustness
from services.trainer.core.search_space import Space, space_from_json, space_to_json
from services.trainer.core.splits import SplitMethod, SplitShares
from services.trainer.core.tasks import Metric, Task
from services.trainer.core.tuning import Tuning, tuning_from_json, tuning_to_json

Json = Mapping[str, Any]  # the content of a message or file

DEFAULT_MAX_ATTEMPTS = 5
USUAL_THRESHOLD = 0.5
"""Where endpoints decide that are not told otherwise."""

DEFAULT_MAX_TOKENS = 128


class FeatureKind(StrEnum):
    """How a column is read. The values are names of the contract."""

    NUMERIC = "KIND_NUMERIC"
    CATEGORICAL = "KIND_CATEGORICAL"
    TEXT = "KIND_TEXT"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column to predict from, and what is promised of it. A broken promise stops the job.

    Attributes:
        name: Of the column.
        kind: How it is read.
        minimum: Smallest number it may hold; None means no limit.
        maximum: Largest number it may hold; None means no limit.
        maximum_missing: Largest share of rows without a value; None means no limit.
        values: Words it may hold; empty means any.
        known_in_advance: It is known before the label is, however well it predicts it.
        encoder: Name of the pretrained encoder that reads a text; empty for other kinds.
        max_tokens: Tokens of a text that are read; 0 for other kinds.
    """

    name: str
    kind: FeatureKind
    minimum: float | None = None
    maximum: float | None = None
    maximum_missing: float | None = None
    values: tuple[str, ...] = ()
    known_in_advance: bool = False
    encoder: str = ""
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model to try.

    Attributes:
        algorithm: Name of a recipe.
        parameters: Fixed parameters; what is left out takes the recipe's default.
        space: Parameters that tuning chooses; empty for a model that is tried once.
    """

    algorithm: str
    parameters: Parameters
    space: Space = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything that decides what a job trains: the same spec gives the same model.

    Attributes:
        snapshot: Resource name of a sealed dataset snapshot.
        target: Column to predict, as `task` takes it.
        features: Columns the model sees, in the order of its inputs.
        time_column: Timestamp column that orders the rows.
        shares: Shares of the parts; they may not sum to 1 before the check.
        candidates: Models to try.
        metric: What validation picks the winner by; a `Metric` once it is checked.
        seed: Start of every random number.
        slices: Columns by whose values the evaluation is broken down.
        model: Resource name of the model that the winner becomes a version of.
        parent_version: Version that it descends from; may be empty.
        max_attempts: Attempts before the job fails.
        threads: Threads that each worker of an attempt may keep busy; 0 means every core of its
            machine, with `parallelism` 1.
        memory_mib: Memory that each of its processes may allocate; 0 means no limit.
        tuning: How spaces of candidates are searched; None when none has any.
        split_method: Which rows go into which part.
        group_column: Whose values are kept together; empty unless the method is GROUPED.
        cross_validation_folds: Folds of the train part that pick the winner; 0 means that the
            validation part does.
        minimum_gain: What the winner must gain over the trivial baseline; None asks for nothing.
        mode: What the job takes over from the parent version.
        maximum_loss: What the winner may lose against the parent; None asks for nothing.
        task: What the target is.
        calibration: How the winner's scores become probabilities.
        privacy: What a row may tell at most through the weights; None asks for nothing.
        decision_threshold: Lowest probability of label 1 at which the decision is 1; None means
            `USUAL_THRESHOLD`.
        fairness: Groups for which decisions are compared; None compares none.
        robustness: What the winner is stressed by; None means nothing.
        constraints: What the winner may cost to serve; None means anything.
        parallelism: How many workers train together; None means one, on whole batches.
        acceleration: How networks are trained faster; None means not at all.
    """

    snapshot: str
    target: str
    features: tuple[Feature, ...]
    time_column: str
    shares: SplitShares
    candidates: tuple[Candidate, ...]
    metric: str
    seed: int
    slices: tuple[str, ...]
    model: str
    parent_version: str
    max_attempts: int
    threads: int
    tuning: Tuning | None = None
    memory_mib: int = 0
    split_method: SplitMethod = SplitMethod.TIME
    group_column: str = ""
    cross_validation_folds: int = 0
    minimum_gain: MinimumGain | None = None
    mode: Mode = Mode.FULL
    maximum_loss: MaximumLoss | None = None
    task: Task = Task.BINARY
    calibration: CalibrationMethod = CalibrationMethod.NONE
    privacy: Privacy | None = None
    decision_threshold: float | None = None
    fairness: Fairness | None = None
    robustness: Robustness | None = None
    constraints: Constraints | None = None
    parallelism: Parallelism | None = None
    acceleration: Acceleration | None = None

    @property
    def threshold(self) -> float:
        """Lowest probability of label 1 at which the decision is 1."""
        return USUAL_THRESHOLD if self.decision_threshold is None else self.decision_threshold

    @property
    def checked_metric(self) -> Metric:
        """The metric of a spec without faults."""
        return Metric(self.metric)

    @property
    def lanes(self) -> int:
        """Trials that may run at a time."""
        return self.tuning.parallel_trials if self.tuning else 1

    @property
    def workers(self) -> int:
        """Workers that an attempt has at most."""
        return self.parallelism.max_workers if self.parallelism else 1

    @property
    def gpus(self) -> int:
        """GPUs that an attempt holds, one for each of its workers."""
        asked = self.acceleration
        return self.workers if asked is not None and asked.device is Device.GPU else 0

    @property
    def worker_memory_mib(self) -> int:
        """Memory that a worker is given, all its trials together; 0 where it is not limited."""
        return self.memory_mib * max(1, self.lanes)

    @property
    def reserved_memory_mib(self) -> int:
        """Memory that an attempt is given, all its workers together; 0 where it is not limited."""
        return self.worker_memory_mib * self.workers

    def worker_threads(self, machine: int) -> int:
        """Threads that each worker may keep busy, on a machine of so many."""
        # What several train, each of them trains on one thread.
        return self.threads or (machine if self.parallelism is None else 1)

    def reserved_threads(self, machine: int) -> int:
        """Threads that an attempt may keep busy, all its workers together."""
        return self.worker_threads(machine) * self.workers

    @property
    def expected_trials(self) -> int:
        """Trials that the job does at most."""
        once = sum(not candidate.space for candidate in self.candidates)
        return once + (self.tuning.max_trials if self.tuning else 0)

    @property
    def relies_on(self) -> dict[str, str]:
        """What the registry must keep until the job is over, by field."""
        parent = {"parent_version": self.parent_version} if self.parent_version else {}
        return {"snapshot": self.snapshot, **parent}

    def named(self, kind: FeatureKind) -> tuple[str, ...]:
        """The features of one kind, in the order of the spec."""
        return tuple(feature.name for feature in self.features if feature.kind is kind)


def spec_from_json(document: Json) -> JobSpec:
    """The spec in `document`: the proto3 JSON of the contract's JobSpec, with its field names.

    Defaults of the contract are filled in.
    """
    split = document["split"]
    task = Task(document.get("task") or Task.BINARY)
    fractions = (
        split.get("train_fraction", 0.0),
        split.get("validation_fraction", 0.0),
        split.get("test_fraction", 0.0),
    )
    return JobSpec(
        snapshot=document["snapshot"],
        target=document["target"],
        features=tuple(_feature_from_json(feature) for feature in document["features"]),
        time_column=split["time_column"],
        shares=SplitShares(*fractions) if any(fractions) else SplitShares(),
        candidates=tuple(
            Candidate(
                candidate["algorithm"],
                candidate.get("parameters", {}),
                space_from_json(candidate.get("search_space", ())),
            )
            for candidate in document["candidates"]
        ),
        metric=document.get("metric") or task.meaning.metrics[0].value,
        seed=int(document.get("seed", 0)),
        slices=tuple(document.get("slice_columns", ())),
        model=document["model"],
        parent_version=document.get("parent_version", ""),
        max_attempts=document.get("max_attempts") or DEFAULT_MAX_ATTEMPTS,
        threads=document.get("threads", 0),
        memory_mib=document.get("memory_mib", 0),
        tuning=tuning_from_json(document["tuning"]) if "tuning" in document else None,
        split_method=SplitMethod(split.get("method") or SplitMethod.TIME),
        group_column=split.get("group_column", ""),
        cross_validation_folds=document.get("cross_validation", {}).get("folds", 0),
        minimum_gain=(
            MinimumGain(**document["minimum_gain"]) if "minimum_gain" in document else None
        ),
        mode=Mode(document.get("mode") or Mode.FULL),
        maximum_loss=(
            MaximumLoss(**document["maximum_loss"]) if "maximum_loss" in document else None
        ),
        task=task,
        calibration=CalibrationMethod(document.get("calibration") or CalibrationMethod.NONE),
        privacy=privacy_from_json(document["privacy"]) if "privacy" in document else None,
        decision_threshold=document.get("decision_threshold"),
        fairness=_fairness_from_json(document["fairness"]) if "fairness" in document else None,
        robustness=(
            _robustness_from_json(document["robustness"]) if "robustness" in document else None
        ),
        constraints=(
            _constraints_from_json(document["constraints"]) if "constraints" in document else None
        ),
        parallelism=(
            parallelism_from_json(document["parallelism"]) if "parallelism" in document else None
        ),
        acceleration=(
            acceleration_from_json(document["acceleration"]) if "acceleration" in document else None
        ),
    )


def spec_to_json(spec: JobSpec) -> dict[str, Any]:
    """The inverse of `spec_from_json`, defaults included."""
    return {
        "snapshot": spec.snapshot,
        "target": spec.target,
        "features": [_feature_to_json(each) for each in spec.features],
        "split": {
            "time_column": spec.time_column,
            "train_fraction": spec.shares.train,
            "validation_fraction": spec.shares.validation,
            "test_fraction": spec.shares.test,
            "method": spec.split_method.value,
            "group_column": spec.group_column,
        },
        "candidates": [
            {
                "algorithm": candidate.algorithm,
                "parameters": dict(candidate.parameters),
                "search_space": space_to_json(candidate.space),
            }
            for candidate in spec.candidates
        ],
        "task": spec.task.value,
        "metric": spec.metric,
        "seed": spec.seed,
        "slice_columns": list(spec.slices),
        "model": spec.model,
        "parent_version": spec.parent_version,
        "max_attempts": spec.max_attempts,
        "threads": spec.threads,
        "memory_mib": spec.memory_mib,
        "calibration": spec.calibration.value,
        **({} if spec.tuning is None else {"tuning": tuning_to_json(spec.tuning)}),
        **(
            {"cross_validation": {"folds": spec.cross_validation_folds}}
            if spec.cross_validation_folds
            else {}
        ),
        **({} if spec.minimum_gain is None else {"minimum_gain": asdict(spec.minimum_gain)}),
        "mode": spec.mode.value,
        **({} if spec.privacy is None else {"privacy": privacy_to_json(spec.privacy)}),
        **({} if spec.maximum_loss is None else {"maximum_loss": asdict(spec.maximum_loss)}),
        **(
            {}
            if spec.decision_threshold is None
            else {"decision_threshold": spec.decision_threshold}
        ),
        **(
            {}
            if spec.fairness is None
            else {"fairness": {**asdict(spec.fairness), "columns": list(spec.fairness.columns)}}
        ),
        **({} if spec.robustness is None else {"robustness": asdict(spec.robustness)}),
        **({} if spec.constraints is None else {"constraints": asdict(spec.constraints)}),
        **({} if spec.parallelism is None else {"parallelism": asdict(spec.parallelism)}),
        **(
            {}
            if spec.acceleration is None
            else {"acceleration": acceleration_to_json(spec.acceleration)}
        ),
    }


def _fairness_from_json(document: Json) -> Fairness:
    columns = tuple(document["columns"])
    rows = document.get("min_group_rows")
    return Fairness(columns, rows) if rows else Fairness(columns)


def _constraints_from_json(document: Json) -> Constraints:
    # A 64-bit number is a string in the JSON of messages.
    return Constraints(document.get("max_p99_ms", 0.0), int(document.get("max_graph_bytes", 0)))


def _robustness_from_json(document: Json) -> Robustness:
    return Robustness(
        document.get("noise") or USUAL_NOISE,
        document.get("maximum_fall", {}),
        document.get("maximum_flipped", {}),
    )


def _feature_from_json(document: Json) -> Feature:
    kind = FeatureKind(document["kind"])
    return Feature(
        name=document["name"],
        kind=kind,
        minimum=document.get("minimum"),
        maximum=document.get("maximum"),
        maximum_missing=document.get("maximum_missing"),
        values=tuple(document.get("values", ())),
        known_in_advance=document.get("known_in_advance", False),
        encoder=document.get("encoder", ""),
        max_tokens=(
            document.get("max_tokens") or (DEFAULT_MAX_TOKENS if kind is FeatureKind.TEXT else 0)
        ),
    )


def _feature_to_json(feature: Feature) -> dict[str, Any]:
    document = {
        "name": feature.name,
        "kind": feature.kind.value,
        "minimum": feature.minimum,
        "maximum": feature.maximum,
        "maximum_missing": feature.maximum_missing,
        "values": list(feature.values) or None,
        "known_in_advance": feature.known_in_advance or None,
        "encoder": feature.encoder or None,
        "max_tokens": feature.max_tokens or None,
    }
    return {name: value for name, value in document.items() if value is not None}
