"""What is an alarm, what is none, and why: each condition with its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.monitor.core.alarms import judged_points, weighted
from services.monitor.core.detectors.numeric import NumericDrift
from services.monitor.core.detectors.port import ROWS, Measurement
from services.monitor.core.memory import Cut, Memory
from services.monitor.core.resources import DriftTest
from tests.support.drift_worlds import Change, DriftWorld, sight_of_days

TEST = DriftTest()


def measured(effect: float, **fields) -> Measurement:
    return Measurement(
        **{
            "detector": "numeric",
            "subject": "wind",
            "effect": effect,
            "own": np.full(8, 0.05),
            "cut": Cut(7, 7),
            "memory": Memory(),
            "noise": 1e-6,
            "statistic": 100.0,
            "p_chance": 1e-9,
            "baseline_rows": 10_000,
            "window_rows": 2_000,
            **fields,
        }
    )


def after(*windows: Measurement, test: DriftTest = TEST, faulty=()):
    """The point of the last of these windows."""
    earlier: list = []
    for window in windows:
        (point,) = judged_points([window], earlier, test=test, faulty=faulty)
        earlier.insert(0, {(point.algorithm, point.feature): point})
    return point


def test_an_effect_counts_once_it_has_lasted() -> None:
    strong = measured(0.6)
    seen = [after(*[strong] * weeks).drifted for weeks in (1, 2, 3, 4)]
    assert seen == [False, False, True, True]
    point = after(strong, strong)
    assert point.significant
    assert "2 of the last 4 windows" in point.reason
    assert after(strong, strong, strong).reason.startswith("Alarm: effect 0.600")


def test_past_effects_do_not_outlive_the_present_one() -> None:
    strong = measured(0.6)
    point = after(strong, strong, strong, measured(0.05))
    assert not point.drifted
    assert "below the floor" in point.reason


def test_one_quiet_window_of_four_is_forgiven() -> None:
    strong = measured(0.6)
    assert after(strong, strong, measured(0.05), strong).drifted


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"window_rows": 400}, "fewer than 500"),
        ({"effect": 0.09}, "below the floor 0.1"),
        ({"own": np.full(8, 0.4)}, "by itself"),
        ({"p_chance": 0.2}, "would count"),
    ],
)
def test_no_alarm_says_which_condition_fails(fields: dict, words: str) -> None:
    window = measured(**{"effect": 0.5, **fields})
    point = after(window, window, window)
    assert not point.drifted
    assert words in point.reason


def test_rows_that_are_a_sample_need_not_be_as_many_as_a_window() -> None:
    window = measured(0.6, subject=ROWS, window_rows=300)
    assert after(window, window, window).drifted


def test_broken_values_are_no_drift() -> None:
    window = measured(0.9)
    point = after(window, window, window, faulty={"wind"})
    assert not point.drifted
    assert not point.significant
    assert "broken" in point.reason


def test_a_baseline_too_short_to_know_itself_is_held_against_chance_and_says_so() -> None:
    window = measured(0.6, own=np.array([0.1, 0.1]))
    point = after(window, window, window)
    assert point.drifted
    assert "too short" in point.reason
    assert point.excess == 0


def test_the_threshold_is_the_effect_that_would_do_if_it_lasted() -> None:
    own = np.full(8, 0.2)
    threshold = after(measured(0.3, own=own)).threshold
    assert threshold > 0.2
    for effect, expected in ((threshold * 1.01, True), (threshold * 0.99, False)):
        window = measured(effect, own=own)
        assert after(window, window, window).drifted is expected


def test_more_columns_and_a_smaller_budget_ask_for_more() -> None:
    window = measured(0.3, own=np.random.default_rng(1).uniform(0.001, 0.4, 8))
    one = after(window).threshold
    many = judged_points(
        [
            replace(window, subject=f"c{place}", own=window.own * 2.0**-place)
            for place in range(100)
        ],
        [],
        test=TEST,
    )[0].threshold
    strict = after(window, test=replace(TEST, false_alarm_budget=0.001)).threshold
    assert one < many
    assert one < strict


def test_guards_take_a_small_share_of_the_budget_and_leave_the_others_more() -> None:
    own = np.random.default_rng(1).uniform(0.001, 0.4, 8)

    def threshold(detector: str, others: str) -> float:
        window = measured(0.3, own=own, detector=detector)
        rest = [
            measured(0.0, own=own * 2.0**-place, subject=f"c{place}", detector=others)
            for place in range(100)
        ]
        return judged_points([window, *rest], [], test=TEST)[0].threshold

    among_guards = threshold("numeric", "missing")
    assert among_guards < threshold("numeric", "numeric") < threshold("missing", "numeric")


@pytest.mark.parametrize("weights", [np.ones(5), np.array([0.1, 0.1, 1.6, 1.6, 1.6])])
def test_weights_share_out_the_budget_and_do_not_raise_it(weights: np.ndarray) -> None:
    """Of independent tests without any finding to be made, 5 % of the families have one."""
    p_values = np.random.default_rng(3).uniform(size=(4_000, 5))
    found = [weighted(row, weights).min() <= 0.05 for row in p_values]
    assert np.mean(found) == pytest.approx(0.05, abs=0.012)


def test_the_verdict_hardly_depends_on_the_number_of_rows() -> None:
    """A tenfold window of the same world finds the same effects and no more alarms."""
    excesses = []
    for rows in (150, 1_500):
        world = DriftWorld(3, columns=16, rows_per_day=rows)
        profile = world.profile()
        sight = sight_of_days(profile, world.days(7, Change(shift=0.6)))
        effects = {each.subject: each.effect for each in NumericDrift().measure(sight)}
        excesses.append(effects["n000"])
    assert excesses[0] == pytest.approx(excesses[1], abs=0.06)
