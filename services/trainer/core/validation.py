"""Every fault of a spec, found at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Final

from services.common.errors import FieldViolation
from services.common.names import ResourceName
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.judging_faults import judging_faults
from services.trainer.core.parameters import Rules, parameter_faults
from services.trainer.core.spec import Feature, FeatureKind, JobSpec
from services.trainer.core.splits import SplitMethod
from services.trainer.core.tasks import QUANTITIES, STRINGS
from services.trainer.core.tuning_faults import tuning_faults

SNAPSHOT: Final = ResourceName(
    "projects/{project}/datasets/{dataset}/snapshots/{snapshot}", server_ids=("snapshot",)
)
MODEL: Final = ResourceName("projects/{project}/models/{model}")
VERSION: Final = ResourceName(
    "projects/{project}/models/{model}/versions/{version}", server_ids=("version",)
)
ROOT: Final = "training_job.spec"

_NUMBERS: Final = (*QUANTITIES, "bool")


def spec_faults(spec: JobSpec, recipes: Mapping[str, Rules]) -> list[FieldViolation]:
    """What is wrong with `spec` whatever the data is.

    Args:
        spec: As it was sent.
        recipes: The parameters of each algorithm there is.
    """
    return [
        *_name_faults(spec),
        *_column_faults(spec),
        *_split_faults(spec),
        *_candidate_faults(spec, recipes),
        *_gain_faults(spec),
        *_calibration_faults(spec),
        *judging_faults(spec, ROOT),
        *tuning_faults(spec, recipes, ROOT),
    ]


def schema_faults(spec: JobSpec, columns: Mapping[str, str]) -> list[FieldViolation]:
    """What `spec` asks of the data that the data doesn't have.

    Args:
        spec: Without faults of its own.
        columns: Arrow type of each column of the snapshot, such as `int64`.
    """
    faults = []
    for path, name, allowed in _wanted_types(spec):
        kind = columns.get(name)
        if kind is None:
            text = f"names {name!r}, which the snapshot doesn't have"
            faults.append(FieldViolation(f"{ROOT}.{path}", text))
        elif not kind.startswith(allowed):
            text = f"names {name!r}, whose type {kind} can't be used here"
            faults.append(FieldViolation(f"{ROOT}.{path}", text))
    return faults


def _wanted_types(spec: JobSpec) -> list[tuple[str, str, tuple[str, ...]]]:
    wanted: list[tuple[str, str, tuple[str, ...]]] = [
        ("target", spec.target, spec.task.meaning.target_types),
        ("split.time_column", spec.time_column, ("timestamp",)),
    ]
    for index, feature in enumerate(spec.features):
        allowed = _NUMBERS if feature.kind is FeatureKind.NUMERIC else STRINGS
        wanted.append((f"features[{index}].name", feature.name, allowed))
    wanted += [(f"slice_columns[{i}]", name, ("",)) for i, name in enumerate(spec.slices)]
    if spec.group_column:
        wanted.append(("split.group_column", spec.group_column, ("",)))
    return wanted


def _name_faults(spec: JobSpec) -> list[FieldViolation]:
    faults = []
    names = [("snapshot", spec.snapshot, SNAPSHOT), ("model", spec.model, MODEL)]
    if spec.parent_version:
        names.append(("parent_version", spec.parent_version, VERSION))
    for path, name, kind in names:
        if not kind.matches(name):
            text = f"is {name!r}; must have the form {kind.template}"
            faults.append(FieldViolation(f"{ROOT}.{path}", text))
    return faults


def _column_faults(spec: JobSpec) -> list[FieldViolation]:
    faults = []
    counts = Counter(feature.name for feature in spec.features)
    for index, feature in enumerate(spec.features):
        text = _feature_fault(feature, spec, counts)
        if text:
            faults.append(FieldViolation(f"{ROOT}.features[{index}].name", text))
        faults += _promise_faults(feature, f"{ROOT}.features[{index}]")
    if spec.target == spec.time_column:
        faults.append(FieldViolation(f"{ROOT}.target", "is the time column too"))
    repeated = [name for name, count in Counter(spec.slices).items() if count > 1]
    if repeated:
        text = f"names {', '.join(repeated)} more than once"
        faults.append(FieldViolation(f"{ROOT}.slice_columns", text))
    return faults


def _feature_fault(feature: Feature, spec: JobSpec, counts: Mapping[str, int]) -> str:
    if feature.name == spec.target:
        return "is the target, which no model may see"
    if feature.name == spec.time_column:
        return "is the time column, which a model can't read; derive a feature from it"
    if counts[feature.name] > 1:
        return f"names {feature.name!r} more than once"
    return ""


def _promise_faults(feature: Feature, path: str) -> Iterator[FieldViolation]:
    low, high = feature.minimum, feature.maximum
    if feature.values and feature.kind is not FeatureKind.CATEGORICAL:
        yield FieldViolation(f"{path}.values", "is for categorical features")
    if feature.kind is not FeatureKind.NUMERIC:
        for name, bound in (("minimum", low), ("maximum", high)):
            if bound is not None:
                yield FieldViolation(f"{path}.{name}", "is for numeric features")
    elif low is not None and high is not None and low > high:
        yield FieldViolation(f"{path}.minimum", f"is {low:g}; must not be above {high:g}")


def _split_faults(spec: JobSpec) -> list[FieldViolation]:
    shares = {
        "train_fraction": spec.shares.train,
        "validation_fraction": spec.shares.validation,
        "test_fraction": spec.shares.test,
    }
    faults = [
        FieldViolation(f"{ROOT}.split.{name}", f"is {share:g}; must be above 0")
        for name, share in shares.items()
        if share <= 0
    ]
    total = sum(shares.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        faults.append(FieldViolation(f"{ROOT}.split", f"has shares that sum to {total:g}, not 1"))
    if spec.split_method is SplitMethod.STRATIFIED and not spec.task.meaning.has_classes:
        text = (
            f"is {spec.split_method}, which spreads classes; {spec.task} has none: take "
            f"{SplitMethod.RANDOM}"
        )
        faults.append(FieldViolation(f"{ROOT}.split.method", text))
    text = _group_fault(spec)
    if text:
        faults.append(FieldViolation(f"{ROOT}.split.group_column", text))
    return faults


def _group_fault(spec: JobSpec) -> str:
    grouped = spec.split_method is SplitMethod.GROUPED
    if grouped and not spec.group_column:
        return "is empty; METHOD_GROUPED needs the column whose values are kept together"
    if spec.group_column and not grouped:
        return f"is {spec.group_column!r}; it goes with METHOD_GROUPED alone"
    if spec.group_column and spec.group_column == spec.target:
        return "is the target: every part would hold one label alone"
    return ""


def _candidate_faults(spec: JobSpec, recipes: Mapping[str, Rules]) -> list[FieldViolation]:
    faults = []
    for index, candidate in enumerate(spec.candidates):
        path = f"{ROOT}.candidates[{index}]"
        rules = recipes.get(candidate.algorithm)
        if rules is None:
            text = f"is {candidate.algorithm!r}; must be one of {', '.join(sorted(recipes))}"
            faults.append(FieldViolation(f"{path}.algorithm", text))
        else:
            faults += parameter_faults(candidate.parameters, rules, f"{path}.parameters")
    metrics = spec.task.meaning.metrics
    if spec.metric not in metrics:
        text = f"is {spec.metric!r}; {spec.task} is picked by one of {', '.join(metrics)}"
        faults.append(FieldViolation(f"{ROOT}.metric", text))
    return faults


def _calibration_faults(spec: JobSpec) -> Iterator[FieldViolation]:
    if spec.calibration is CalibrationMethod.NONE:
        return
    if not spec.task.meaning.has_classes:
        text = f"is {spec.calibration}, which is for probabilities; {spec.task} tells none"
        yield FieldViolation(f"{ROOT}.calibration", text)
    if spec.mode.keeps_the_graph:
        text = f"is {spec.calibration}; {spec.mode} keeps the calibration of the parent"
        yield FieldViolation(f"{ROOT}.calibration", text)


def _gain_faults(spec: JobSpec) -> Iterator[FieldViolation]:
    if spec.minimum_gain is None:
        return
    told = spec.task.meaning.gains
    for name, least in asdict(spec.minimum_gain).items():
        if least and name not in told:
            text = f"is {least:g}; {spec.task} tells gains in {' and '.join(told)} alone"
            yield FieldViolation(f"{ROOT}.minimum_gain.{name}", text)
