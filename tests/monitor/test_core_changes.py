"""Worlds that change in one known way: what is measured, and what it is called."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from services.monitor.core.calibration import Calibration
from services.monitor.core.concept import concept_state
from services.monitor.core.detecting import findings
from services.monitor.core.detectors.registry import DETECTORS
from services.monitor.core.estimating import estimated_quality
from services.monitor.core.naming import unexplained
from services.monitor.core.quality import UNKNOWN, quality
from services.monitor.core.resources import ChangeKind, DriftTest, Severity
from tests.support.drift_worlds import (
    INDEPENDENT,
    QUIET,
    SEASONAL,
    Change,
    DriftWorld,
    sight_of_days,
)
from tests.system.drift_runs import (
    CASES,
    Case,
    judged_weeks,
    met_change,
    quiet_world,
    share_with_interval,
)

COLUMNS = 16
AT_ONCE = DriftTest(persistence_hits=1, persistence_windows=1)


@pytest.fixture(scope="module")
def world() -> tuple[DriftWorld, object]:
    drawn = DriftWorld(11, columns=COLUMNS, nature=INDEPENDENT)
    return drawn, drawn.profile()


def seen(world, change: Change = QUIET, **fields):
    drawn, profile = world
    return replace(sight_of_days(profile, drawn.days(7, change)), **fields)


def detector(name: str):
    return next(each for each in DETECTORS if each.name == name)


def effects(world, name: str, change: Change) -> dict[str, float]:
    return {each.subject: each.effect for each in detector(name).measure(seen(world, change))}


@pytest.mark.parametrize(
    ("name", "subject", "change"),
    [
        ("numeric", "n000", Change(shift=1.0, shifted=1)),
        ("categorical", "category", Change(category=0.2)),
        ("predictions", "score", Change(shift=1.0, shifted=1)),
        ("labels", "label", Change(odds=3.0)),
        ("reconstruction", "rows", Change(decoupled=True)),
        ("domain_classifier", "rows", Change(decoupled=True)),
        ("out_of_range", "n000", Change(shift=4.0, shifted=1)),
    ],
)
def test_each_detector_sees_its_change_and_nothing_in_a_quiet_week(
    world, name: str, subject: str, change: Change
) -> None:
    assert effects(world, name, QUIET)[subject] < 0.1
    assert effects(world, name, change)[subject] > 0.1


def test_what_is_missing_and_what_is_new_have_detectors_of_their_own(world) -> None:
    sight = seen(world)
    number, category = (sight.features[name].copy() for name in ("n003", "category"))
    number[-1] += 150
    category[-2] += 150
    broken = replace(sight, features={**sight.features, "n003": number, "category": category})
    for name, subject in (("missing", "n003"), ("new_category", "category")):
        found = {each.subject: each.effect for each in detector(name).measure(broken)}
        assert found[subject] > 0.1
        assert all(effect < 0.1 for other, effect in found.items() if other != subject)
    plain = {each.subject: each.effect for each in detector("numeric").measure(broken)}
    assert plain["n003"] < 0.1, "missing values are no change of the numbers"


def test_every_detector_names_its_source() -> None:
    for each in DETECTORS:
        assert any(year in (type(each).__doc__ or "") for year in ("19", "20")), each.name


def test_a_joint_change_leaves_every_column_as_it_was(world) -> None:
    found = findings(seen(world, Change(decoupled=True)), [], AT_ONCE)
    assert found.change.kind is ChangeKind.JOINT_DRIFT
    assert found.change.severity is Severity.TICKET
    assert {point.feature for point in found.points if point.drifted} == {"rows"}


def test_outcomes_that_come_late_are_no_evidence(world) -> None:
    sight = seen(world, Change(concept=2.0))
    nothing = concept_state(
        replace(sight, labels=np.full_like(sight.labels, UNKNOWN)), None, DriftTest()
    )
    assert nothing is not None
    assert not nothing.alarms
    assert nothing.outcomes == 0
    assert concept_state(sight, nothing, DriftTest()).alarms


def test_evidence_carries_over_from_window_to_window(world) -> None:
    state, states = None, []
    for _ in range(6):
        state = concept_state(seen(world, Change(concept=0.35)), state, DriftTest())
        assert state is not None
        states.append(state)
    alone = concept_state(seen(world, Change(concept=0.35)), None, DriftTest())
    assert alone is not None
    assert states[-1].evidence > alone.evidence
    assert states[-1].alarms


def test_the_detector_runs_as_long_as_declared_where_nothing_changes(world) -> None:
    state = None
    for _ in range(40):
        state = concept_state(seen(world), state, DriftTest())
        assert state is not None
        assert not state.alarms
    assert "one false alarm in 40 windows at most" in state.reason


def test_a_score_that_is_the_frequency_is_found_calibrated(world) -> None:
    calibration = Calibration.of(world[1])
    assert calibration is not None
    frequency, error = calibration.expected(np.array([0.1, 0.5, 0.9]))
    assert frequency == pytest.approx([0.1, 0.5, 0.9], abs=0.05)
    assert (error < 0.05).all()
    assert 1 <= calibration.overdispersion < 2.5


def test_quality_is_estimated_without_outcomes_and_doubted_where_it_must_be(world) -> None:
    calm = seen(world, Change(shift=0.5))
    estimate = estimated_quality(calm, [], ChangeKind.DATA_DRIFT)
    real = quality(calm.labels, calm.scores).metrics
    assert estimate is not None
    assert estimate.doubts == ()
    for metric, tolerance in (("auc", 0.03), ("log_loss", 0.03), ("positive_rate", 0.03)):
        assert estimate.metrics[metric] == pytest.approx(real[metric], abs=tolerance)
    for change in (ChangeKind.CONCEPT_DRIFT, ChangeKind.DATA_FAULT):
        doubted = estimated_quality(calm, [], change)
        assert doubted is not None
        assert doubted.doubts


def test_each_kind_of_change_explains_its_own_outcomes_best() -> None:
    before = np.array([[800, 100], [300, 300], [100, 400]])
    tables = {
        ChangeKind.DATA_DRIFT: before * np.array([[1], [2], [4]]),
        ChangeKind.LABEL_SHIFT: before * np.array([[1, 3]]),
    }
    for kind, now in tables.items():
        left = unexplained(before, now)
        assert min(left, key=lambda each: left[each]) is kind


@pytest.mark.parametrize("case", CASES[3:4] + CASES[6:], ids=lambda case: case.words)
def test_a_change_is_found_and_called_by_its_name(case: Case) -> None:
    met = met_change(21, case, INDEPENDENT, COLUMNS)
    assert met.delay_weeks is not None
    assert met.delay_weeks <= 3
    assert met.settled is case.expected
    if case.expected is ChangeKind.DATA_DRIFT:
        assert met.severity is Severity.TICKET


def test_quiet_weeks_with_seasons_and_memory_stay_quiet_where_usual_rules_fire() -> None:
    worlds = [quiet_world(seed, SEASONAL, COLUMNS, 5) for seed in range(2)]
    total = Counter(weeks=0, alarms=0, floor=0)
    for each in worlds:
        total.update(weeks=each.weeks, alarms=each.alarms, floor=each.floor)
    assert total["floor"] == total["weeks"], "an effect of .1 is seen in every week"
    assert total["alarms"] <= 1


def test_reports_of_equal_worlds_are_equal() -> None:
    first, second = (
        list(judged_weeks(4, [QUIET, Change(shift=1.0)], nature=SEASONAL, columns=COLUMNS))
        for _ in range(2)
    )
    assert first == second


def test_no_alarm_in_a_few_weeks_proves_little_and_alike_weeks_still_less() -> None:
    share, low, high = share_with_interval([0, 0, 0], [10, 10, 10])
    assert (share, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 30))
    spread = share_with_interval([2, 2, 2, 2], [20] * 4)
    clumped = share_with_interval([8, 0, 0, 0], [20] * 4)
    assert spread[0] == clumped[0] == 0.1
    assert clumped[2] > spread[2]
