"""Many columns are measured at once, and what is known of the baseline once: to the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from services.common.profiles import Profile
from services.monitor.core.detectors.comparing import Parts, compared
from services.monitor.core.detectors.encoding import normal_scores
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.detectors.registry import DETECTORS
from services.monitor.core.faults.registry import FAULTS
from services.monitor.core.histograms import g_test, g_tests, sampling_spread, sampling_spreads
from tests.support.drift_worlds import Change, DriftWorld, sight_of_days

COLUMNS = 20


@pytest.fixture(scope="module")
def sights() -> list[Sight]:
    """A week, and two days of the next one, of columns that differ in how many bins they have."""
    world = DriftWorld(5, columns=COLUMNS)
    days = world.days(7, Change(shift=0.5, category=0.1))
    days.numbers[:, 6] = np.round(days.numbers[:, 6])
    days.numbers[:400, 7] = np.nan
    profile = world.profile()
    return [sight_of_days(profile, each) for each in (days, world.days(2))]


def measured(sight: Sight) -> list[Measurement]:
    return [each for detector in DETECTORS for each in detector.measure(sight)]


def without_memory(profile: Profile) -> Profile:
    """The same baseline, of which nothing has been worked out yet."""
    return replace(profile)


def same(first: Measurement, second: Measurement) -> bool:
    assert np.array_equal(first.own, second.own)
    nothing = np.empty(0)
    return replace(first, own=nothing, course=None) == replace(second, own=nothing, course=None)


def test_a_column_is_measured_alone_as_among_others(sights) -> None:
    def every_group(column) -> Parts:
        return [[group] for group in range(column.group_count)]

    for sight in sights:
        columns = sight.baseline.features
        together = compared("all", sight, columns, sight.features, every_group)
        for each in together:
            fresh = replace(sight, baseline=without_memory(sight.baseline))
            one = {each.subject: columns[each.subject]}
            (alone,) = compared("all", fresh, one, sight.features, every_group)
            assert same(each, alone)


def test_what_was_worked_out_for_one_window_serves_the_next_as_if_it_were_new(sights) -> None:
    for sight in [*sights, *reversed(sights)]:
        fresh = replace(sight, baseline=without_memory(sight.baseline))
        for known, new in zip(measured(sight), measured(fresh), strict=True):
            assert same(known, new)
        assert [list(find(sight)) for find in FAULTS] == [list(find(fresh)) for find in FAULTS]


def test_a_column_without_a_number_in_training_has_no_values_in_range(sights) -> None:
    world = DriftWorld(6, columns=COLUMNS)
    days = world.days(7)
    days.numbers[:, 3] = np.nan
    world.days = lambda count: days  # type: ignore[method-assign]
    profile = world.profile()
    days.numbers[:, 3] = 1.0
    found = {(each.detector, each.subject): each for each in measured(sight_of_days(profile, days))}
    outside = found["out_of_range", "n003"]
    assert (outside.baseline_rows, outside.window_rows) == (0, days.labels.size)
    assert found["missing", "n003"].effect > 0.9


def test_pairs_of_histograms_are_tested_as_each_pair() -> None:
    random = np.random.default_rng(2)
    first = random.poisson(3.0, (50, 21))
    second = random.poisson(random.choice([0.0, 0.1, 4.0], (50, 1)), (50, 21))
    statistics, p_values = g_tests(first, second)
    spreads = sampling_spreads(first, second)
    for place, pair in enumerate(zip(first, second, strict=True)):
        assert (statistics[place], p_values[place]) == g_test(*pair)
        assert spreads[place] == sampling_spread(*pair)


def test_normal_scores_rank_ties_in_their_middle() -> None:
    codes = np.random.default_rng(3).integers(0, 9, (101, 4))
    ranks, scores = rankdata(codes, axis=0), normal_scores(codes)
    for column in range(4):
        order = np.argsort(ranks[:, column], kind="stable")
        assert (np.diff(scores[order, column]) >= -1e-12).all()
        tied = np.diff(ranks[order, column]) == 0
        assert (np.diff(scores[order, column])[tied] == 0).all()
    assert normal_scores(codes[:, :1]) == pytest.approx(scores[:, :1])
