"""Rates of groups and how far they are apart, against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.core.fairness import (
    BIAS,
    DISPARITIES,
    ColumnFairness,
    Decisions,
    Fairness,
    compare_groups,
)
from services.trainer.core.judging_faults import judging_faults
from services.trainer.core.spec import JobSpec, spec_from_json, spec_to_json
from services.trainer.core.tasks import Task
from tests.support.trainer_values import spec

Counts = tuple[int, int, int, int]
"""Of a group: true positives, false negatives, false positives, true negatives."""


def rows_of(groups: dict[str, Counts]) -> tuple[Decisions, np.ndarray]:
    """Rows with these counts: decided 1 with a probability of .75, else of .25."""
    label, told, column = [], [], []
    for name, counts in groups.items():
        kinds = zip(counts, ((1, 1), (1, 0), (0, 1), (0, 0)), strict=True)
        for count, (right, decided) in kinds:
            label += [right] * count
            told += [decided] * count
            column += [name] * count
    probability = np.where(np.array(told, dtype=bool), 0.75, 0.25)
    return Decisions(np.array(label), probability, 0.5), np.array(column, dtype=object)


def compared(groups: dict[str, Counts], min_rows: int = 50) -> ColumnFairness:
    decided, column = rows_of(groups)
    (found,) = compare_groups(Fairness(("g",), min_rows), decided, {"g": column}, 7)
    return found


BY_HAND = {"a": (40, 10, 20, 30), "b": (20, 30, 10, 140), "tiny": (5, 0, 0, 5)}


def test_rates_and_differences_are_those_worked_out_by_hand() -> None:
    found = compared(BY_HAND)
    rates = {
        group.value: {name: each.value for name, each in group.estimates.items()}
        for group in found.groups
    }
    assert rates == {
        "a": pytest.approx(
            {
                "selection_rate": 0.6,
                "true_positive_rate": 0.8,
                "false_positive_rate": 0.4,
                "precision": 40 / 60,
                BIAS: 0.6 * 0.75 + 0.4 * 0.25 - 0.5,
            }
        ),
        "b": pytest.approx(
            {
                "selection_rate": 0.15,
                "true_positive_rate": 0.4,
                "false_positive_rate": 10 / 150,
                "precision": 20 / 30,
                BIAS: 0.15 * 0.75 + 0.85 * 0.25 - 0.25,
            }
        ),
    }
    assert found.left_out == {"tiny": 10}
    assert {name: each.value for name, each in found.disparities.items()} == pytest.approx(
        {
            "demographic_parity_difference": 0.45,
            "demographic_parity_ratio": 0.25,
            "equal_opportunity_difference": 0.4,
            "equalized_odds_difference": 0.4,
            "predictive_parity_difference": 0.0,
            "calibration_difference": 0.075 - 0.05,
        }
    )
    worst = found.disparities["demographic_parity_difference"]
    assert (worst.lowest, worst.highest) == ("b", "a")
    assert found.metrics["fairness.equal_opportunity_difference.g"] == pytest.approx(0.4)
    assert set(found.standard_errors) == set(found.metrics)


def test_the_interval_of_a_rate_is_wilsons() -> None:
    # Worked out for 8 of 10: (0.8 + z^2/20 -+ z sqrt(0.016 + z^2/400)) / (1 + z^2/10).
    (group,) = compared({"a": (8, 2, 0, 50)}).groups
    found = group.estimates["true_positive_rate"]
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert "precision" not in group.estimates  # a share of 8 rows


def test_a_group_that_is_never_decided_1_has_an_interval_all_the_same() -> None:
    found = compared({"a": (0, 50, 0, 50), "b": (0, 50, 0, 50)})
    rate = found.of_group("a")["selection_rate"]
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert 0 < rate.high < 0.05
    assert rate.standard_error > 0
    assert "demographic_parity_ratio" not in found.disparities
    assert "predictive_parity_difference" not in found.disparities
    assert found.disparities["demographic_parity_difference"].value == 0


def test_one_group_alone_is_compared_with_nothing() -> None:
    found = compared({"a": (40, 10, 20, 30)})
    assert (len(found.groups), found.disparities, found.metrics) == (1, {}, {})


def test_what_luck_makes_of_equal_groups_is_told_apart_from_what_is_unequal() -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 4000)
    probability = random.random(4000)
    column = random.choice(list("abcdefgh"), 4000).astype(object)
    alike, unlike = (
        compare_groups(Fairness(("g",)), Decisions(label, each, 0.5), {"g": column}, 7)[0]
        for each in (probability, np.where(column == "a", probability**3, probability))
    )
    for name in DISPARITIES:
        luck, bias = alike.disparities[name], unlike.disparities[name]
        if name == "demographic_parity_ratio":
            assert luck.value > luck.by_chance
            assert bias.value < bias.by_chance
        elif name not in ("predictive_parity_difference", BIAS):
            assert luck.value < 1.3 * luck.by_chance
            assert bias.value > 1.5 * bias.by_chance


def test_nothing_is_compared_where_nothing_is_asked() -> None:
    decided, column = rows_of(BY_HAND)
    assert compare_groups(None, decided, {"g": column}, 7) == ()


groups_of_counts = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(*[st.integers(0, 60)] * 4), min_size=1, max_size=4
).filter(lambda groups: any(sum(counts) for counts in groups.values()))


@settings(max_examples=30, deadline=None)
@given(groups_of_counts)
def test_every_number_is_finite_and_inside_its_interval(groups: dict[str, Counts]) -> None:
    found = compared(groups, 10)
    again = compared(groups, 10)
    assert found == again
    for group in found.groups:
        for estimate in group.estimates.values():
            assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
            assert math.isfinite(estimate.standard_error)
    for disparity in found.disparities.values():
        assert all(
            math.isfinite(value) and 0 <= value <= 2
            for value in (disparity.value, disparity.low, disparity.high, disparity.by_chance)
        )


def fields(faulty: JobSpec) -> list[str]:
    return [fault.field for fault in judging_faults(faulty, "spec")]


def test_a_group_column_must_slice_and_a_threshold_must_decide_something() -> None:
    asked = spec(fairness=Fairness(("origin", "carrier")), decision_threshold=0.3)
    assert fields(asked) == ["spec.fairness.columns[1]"]
    assert fields(replace(asked, slices=("carrier", "origin"))) == []
    assert fields(spec(decision_threshold=0.3)) == ["spec.decision_threshold"]


def test_more_than_two_classes_are_not_compared() -> None:
    asked = spec(task=Task.MULTICLASS, fairness=Fairness(("origin",)), decision_threshold=0.3)
    assert fields(asked) == ["spec.fairness", "spec.decision_threshold"]


def test_json_keeps_what_is_compared() -> None:
    asked = spec(fairness=Fairness(("origin",), 20), decision_threshold=0.3)
    assert spec_from_json(spec_to_json(asked)) == asked
    assert spec().threshold == 0.5
    bare = {**spec_to_json(spec()), "fairness": {"columns": ["origin"]}}
    assert spec_from_json(bare).fairness == Fairness(("origin",), 50)
