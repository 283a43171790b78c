"""Specs: their JSON form and their faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.gains import MinimumGain
from services.trainer.core.parameters import ParameterRule, completed, parameter_faults
from services.trainer.core.parents import Mode
from services.trainer.core.spec import (
    Candidate,
    Feature,
    FeatureKind,
    JobSpec,
    spec_from_json,
    spec_to_json,
)
from services.trainer.core.splits import SplitMethod, SplitShares
from services.trainer.core.tasks import Task
from services.trainer.core.validation import schema_faults, spec_faults
from tests.support.trainer_jobs import RULES
from tests.support.trainer_values import MODEL, spec

COLUMNS = {
    "event_time": "timestamp[us, tz=UTC]",
    "distance": "float",
    "wind": "double",
    "origin": "string",
    "carrier": "string",
    "late": "int64",
}


def fields(faulty: JobSpec) -> list[str]:
    return [fault.field.removeprefix("training_job.spec.") for fault in spec_faults(faulty, RULES)]


def test_a_promise_that_no_feature_of_its_kind_can_keep_is_a_fault() -> None:
    features = (
        Feature("distance", FeatureKind.NUMERIC, minimum=2.0, maximum=1.0),
        Feature("wind", FeatureKind.NUMERIC, values=("high",)),
        Feature("origin", FeatureKind.CATEGORICAL, minimum=0.0, maximum=1.0),
    )
    assert fields(spec(features=features)) == [
        "features[0].minimum",
        "features[1].values",
        "features[2].minimum",
        "features[2].maximum",
    ]


def test_a_good_spec_has_no_fault() -> None:
    assert spec_faults(spec(), RULES) == []
    assert schema_faults(spec(), COLUMNS) == []


@given(
    seed=st.integers(0, 2**32 - 1),
    shares=st.tuples(*[st.floats(0.01, 1)] * 3),
    metric=st.sampled_from(["auc", "log_loss"]),
    parameters=st.dictionaries(st.text(min_size=1, max_size=5), st.floats(-5, 5), max_size=3),
    threads=st.integers(0, 256),
    split=st.sampled_from(
        [(SplitMethod.TIME, ""), (SplitMethod.STRATIFIED, ""), (SplitMethod.GROUPED, "carrier")]
    ),
    calibration=st.sampled_from(CalibrationMethod),
)
def test_json_keeps_every_field(
    seed: int,
    shares: tuple[float, float, float],
    metric: str,
    parameters: dict[str, float],
    threads: int,
    split: tuple[SplitMethod, str],
    calibration: CalibrationMethod,
) -> None:
    given_spec = spec(
        seed=seed,
        shares=SplitShares(*shares),
        metric=metric,
        candidates=(Candidate("mlp", parameters),),
        threads=threads,
        split_method=split[0],
        group_column=split[1],
        cross_validation_folds=threads % 3 * 2,
        minimum_gain=MinimumGain(shares[0] / 2, shares[1]) if threads % 2 else None,
        calibration=calibration,
    )
    assert spec_from_json(spec_to_json(given_spec)) == given_spec


def test_what_is_left_out_takes_the_contracts_defaults() -> None:
    document = spec_to_json(spec())
    for name in ("metric", "max_attempts", "threads", "seed", "slice_columns", "calibration"):
        del document[name]
    document["split"] = {"time_column": "event_time"}
    read = spec_from_json(document)
    assert (read.metric, read.max_attempts, read.shares) == ("auc", 5, SplitShares(0.7, 0.15, 0.15))
    assert read.calibration is CalibrationMethod.NONE


def test_every_fault_is_named_at_once() -> None:
    faulty = spec(
        snapshot="january",
        model="delays",
        parent_version="projects/default/models/delays",
        features=(
            Feature("late", FeatureKind.NUMERIC),
            Feature("event_time", FeatureKind.NUMERIC),
            Feature("wind", FeatureKind.NUMERIC),
            Feature("wind", FeatureKind.NUMERIC),
        ),
        shares=SplitShares(0.9, 0.2, 0.0),
        candidates=(
            Candidate("oracle", {}),
            Candidate("decision_tree", {"max_depth": 2.5, "x": 1}),
        ),
        metric="accuracy",
        slices=("origin", "origin"),
    )
    assert fields(faulty) == [
        "snapshot",
        "model",
        "parent_version",
        "features[0].name",
        "features[1].name",
        "features[2].name",
        "features[3].name",
        "slice_columns",
        "split.test_fraction",
        "split",
        "candidates[0].algorithm",
        'candidates[1].parameters["max_depth"]',
        'candidates[1].parameters["x"]',
        "metric",
    ]


@pytest.mark.parametrize(
    ("method", "column"),
    [(SplitMethod.GROUPED, ""), (SplitMethod.TIME, "carrier"), (SplitMethod.GROUPED, "late")],
)
def test_a_group_column_goes_with_grouped_splits_and_is_not_the_target(
    method: SplitMethod, column: str
) -> None:
    faulty = spec(split_method=method, group_column=column)
    assert fields(faulty) == ["split.group_column"]


def test_a_group_column_that_the_snapshot_lacks_is_named() -> None:
    grouped = spec(split_method=SplitMethod.GROUPED, group_column="plane")
    faults = schema_faults(grouped, COLUMNS)
    assert [fault.field for fault in faults] == ["training_job.spec.split.group_column"]


def test_a_target_cannot_be_the_time_column() -> None:
    assert fields(replace(spec(), target="event_time")) == ["target"]


def test_columns_that_are_missing_or_of_the_wrong_type_are_named() -> None:
    columns = {**COLUMNS, "wind": "string", "origin": "int64", "late": "double"}
    del columns["carrier"]
    named = {
        fault.field.removeprefix("training_job.spec.") for fault in schema_faults(spec(), columns)
    }
    assert named == {"target", "features[1].name", "features[2].name", "features[3].name"}


def test_parameters_that_are_no_numbers_are_faults() -> None:
    rules = {"depth": ParameterRule(8, 1, 30, whole=True)}
    for value in ("deep", True, None, 0, 31, 2.5):
        assert len(parameter_faults({"depth": value}, rules, "p")) == 1
    assert parameter_faults({"depth": 30.0}, rules, "p") == []


def test_completed_parameters_are_all_of_the_rules_in_their_order() -> None:
    rules = {"b": ParameterRule(1, 0, 9), "a": ParameterRule(2, 0, 9)}
    assert list(completed({"a": 5}, rules).items()) == [("b", 1.0), ("a", 5.0)]


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": Mode.QUANTIZATION, "parent_version": f"{MODEL}/versions/1"},
        {"task": Task.REGRESSION, "metric": "rmse"},
    ],
    ids=["quantised", "quantities"],
)
def test_a_calibration_is_for_classes_and_models_that_are_trained(changes: Any) -> None:
    asked = spec(calibration=CalibrationMethod.SIGMOID, **changes)
    assert "calibration" in fields(asked)
    assert "calibration" not in fields(replace(asked, calibration=CalibrationMethod.NONE))
    distilled = {"mode": Mode.DISTILLATION, "parent_version": f"{MODEL}/versions/1"}
    assert fields(spec(calibration=CalibrationMethod.ISOTONIC, **distilled)) == []
