"""Broken data: each fault is named, none is seen in drift, and drift is seen in none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.common.profiles import Profile
from services.monitor.core.detecting import findings
from services.monitor.core.detectors.port import Sight
from services.monitor.core.faults.registry import FAULTS
from services.monitor.core.faults.unit import CONVERSIONS
from services.monitor.core.resources import ChangeKind, DriftTest, FaultKind, Severity
from tests.support.drift_worlds import (
    INDEPENDENT,
    QUIET,
    SEASONAL,
    Change,
    Days,
    DriftWorld,
    sight_of_days,
)

COLUMNS = 16


@pytest.fixture(scope="module")
def world() -> tuple[DriftWorld, Profile]:
    drawn = DriftWorld(5, columns=COLUMNS, nature=SEASONAL)
    return drawn, drawn.profile()


def found_in(sight: Sight) -> list[tuple[FaultKind, str]]:
    return [(fault.kind, fault.feature) for find in FAULTS for fault in find(sight)]


def broken(world: tuple[DriftWorld, Profile], change) -> Sight:
    """A week in which `change` was applied to the numbers of `n004`."""
    drawn, profile = world
    days = drawn.days(7)
    numbers = days.numbers.copy()
    numbers[:, 4] = change(numbers[:, 4])
    return sight_of_days(profile, Days(numbers, *(getattr(days, n) for n in _REST)))


_REST = ("category", "scores", "labels", "time_us")


@pytest.mark.parametrize(
    "change",
    [
        QUIET,
        Change(shift=0.5),
        Change(shift=1.5),
        Change(category=0.3),
        Change(decoupled=True),
        Change(odds=3.0),
        Change(concept=1.0),
    ],
)
def test_no_drift_is_taken_for_a_fault(world, change: Change) -> None:
    drawn, profile = world
    assert found_in(sight_of_days(profile, drawn.days(7, change))) == []


def lost(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size) % 3 == 0, np.nan, values)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda values: np.full_like(values, 0.7), FaultKind.STUCK_SENSOR),
        (lambda values: np.round(values / 2) * 2, FaultKind.STALE_FEATURE),
        (lost, FaultKind.NULL_STORM),
        (lambda values: values * 1000, FaultKind.UNIT_CHANGE),
        (lambda values: values * 1.8 + 32, FaultKind.UNIT_CHANGE),
        (lambda values: values + 273.15, FaultKind.UNIT_CHANGE),
    ],
    ids=["stuck", "stale", "nulls", "thousandths", "fahrenheit", "kelvin"],
)
def test_a_fault_is_named_and_is_no_drift(world, change, kind: FaultKind) -> None:
    sight = broken(world, change)
    assert found_in(sight) == [(kind, "n004")]
    found = findings(sight, [], DriftTest(persistence_hits=1, persistence_windows=1))
    assert found.change.kind is ChangeKind.DATA_FAULT
    assert found.change.severity is Severity.PAGE
    assert not any(point.drifted for point in found.points if point.feature == "n004")
    assert found.faults[0].numbers


class Restless(DriftWorld):
    """A column around 0 goes to and fro by itself, week by week."""

    weeks = (0.0,)

    def _one_day(self, change: Change) -> Days:
        week = (self._day - 4) // 7  # The first day is a Monday, the fourth.
        days = super()._one_day(change)
        days.numbers[:, 4] += self.weeks[week % len(self.weeks)]
        return days


@pytest.mark.parametrize("weeks", [(-0.8, 0.0), (-0.4, -0.4)], ids=["to and fro", "calm"])
def test_the_other_sign_is_a_fault_only_where_a_column_does_not_go_as_far_by_itself(weeks) -> None:
    world = Restless(5, columns=COLUMNS, nature=INDEPENDENT)
    world.weeks = weeks
    profile = world.profile()
    world.weeks = (0.4,)
    found = found_in(sight_of_days(profile, world.days(7)))
    assert found == ([] if weeks[0] != weeks[1] else [(FaultKind.UNIT_CHANGE, "n004")])


def test_a_feature_that_no_longer_comes_is_a_change_of_the_schema(world) -> None:
    drawn, profile = world
    sight = sight_of_days(profile, drawn.days(7))
    counts = np.zeros_like(sight.features["n004"])
    counts[-1] = sight.rows
    gone = replace(
        sight,
        features={**sight.features, "n004": counts},
        unreadable={**sight.unreadable, "n004": sight.rows},
    )
    assert found_in(gone) == [(FaultKind.SCHEMA_CHANGE, "n004")]


def test_every_conversion_has_its_inverse() -> None:
    for each in CONVERSIONS:
        assert any(
            other.factor * each.factor == pytest.approx(1)
            and other.offset * each.factor + each.offset == pytest.approx(0)
            for other in CONVERSIONS
        ), each.words
