"""What the scores follow: closed forms, a model that answers by other columns, and quiet weeks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.profiles import Profile, ScoredSample, feature_profiles
from services.monitor.core.attribution import (
    FEWEST_ROWS,
    MOST_POINTS,
    Explained,
    attribution_drift,
    differences_half_widths,
)
from services.monitor.core.detecting import findings, sight_of
from services.monitor.core.resources import AttributionDrift, DriftReport, DriftTest
from services.monitor.core.stream.tallies import Tally
from tests.support.drift_worlds import (
    INDEPENDENT,
    QUIET,
    SEASONAL,
    Change,
    DriftWorld,
    sight_of_days,
)
from tests.support.predictions import DAY, MONDAY, World
from tests.system.drift_runs import judged_weeks

TEST = DriftTest()
GROUPS = 20
REWIRED = Change(rewired=True)
DECIDE = {f"n{place:03}" for place in range(5)}
PAIRED = {f"n{place:03}" for place in range(5, 15)}


def in_groups(uniform: np.ndarray) -> np.ndarray:
    return np.minimum((uniform * GROUPS).astype(np.int64), GROUPS - 1)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (3.0, 1.0), (1.0, 0.0)])
def test_of_a_sum_of_two_columns_each_explains_its_share(a, b):
    columns = np.random.default_rng(0).random((200_000, 3))
    scores = a * columns[:, 0] + b * columns[:, 1]
    found = Explained.of(in_groups(columns), scores)
    # A group is a twentieth of the column wide: what goes on inside it explains nothing.
    between = 1 - 1 / GROUPS**2
    share = a**2 / (a**2 + b**2)
    expected = np.array([share, 1 - share, 0]) * between
    assert found.squares == pytest.approx(expected, abs=0.005)
    some = expected > 0
    assert found.ratios[some] == pytest.approx(np.sqrt(expected[some]), abs=0.01)


def test_what_only_two_columns_together_explain_neither_explains_alone():
    columns = np.random.default_rng(1).random((100_000, 2))
    found = Explained.of(in_groups(columns), (columns[:, 0] - 0.5) * (columns[:, 1] - 0.5))
    assert np.all(np.abs(found.squares) < 0.005)


def test_columns_without_any_influence_explain_nothing_on_average():
    random = np.random.default_rng(2)
    rows, columns = 500, 2_000
    found = Explained.of(in_groups(random.random((rows, columns))), random.normal(size=rows))
    # Not taken off, twenty groups of five hundred rows explain a twenty-sixth by chance.
    assert abs(found.squares.mean()) < 0.002
    assert 0.9 < found.errors.mean() / found.squares.std() < 1.2


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 3.0])
def test_errors_are_those_of_samples_drawn_again(weight):
    random = np.random.default_rng(3)
    found = []
    for _ in range(400):
        column = random.random((600, 1))
        scores = 1 / (1 + np.exp(-weight * 3 * (column[:, 0] - 0.5) - random.normal(size=600)))
        found.append(Explained.of(in_groups(column), scores))
    told = np.mean([each.errors[0] for each in found])
    assert 0.9 < told / np.std([each.squares[0] for each in found]) < 1.2


@pytest.mark.parametrize("weight", [0.0, 0.15, 0.3, 2.0])
def test_the_half_width_covers_a_difference_that_chance_makes(weight):
    random = np.random.default_rng(4)

    def sample() -> Explained:
        columns = random.random((500, 10))
        scores = weight * 3 * (columns.sum(axis=1) - 5) + random.normal(size=500)
        return Explained.of(in_groups(columns), scores)

    beyond = 0
    for _ in range(300):
        first, second = sample(), sample()
        widths = differences_half_widths(first, second)
        differ = first.ratios != second.ratios
        turned = differences_half_widths(second, first)
        assert widths[differ] == pytest.approx(turned[differ])
        beyond += bool(np.any(np.abs(first.ratios - second.ratios) > widths))
    # Of 300 samples: 5 % and three standard errors.
    assert beyond / 300 < 0.09


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000), st.floats(-1000, 1000), st.booleans())
def test_neither_unit_nor_names_of_groups_nor_the_order_of_rows_matter(seed, factor, shift, flip):
    random = np.random.default_rng(seed)
    rows = int(random.integers(60, 200))
    groups = random.integers(0, 8, (rows, 3))
    scores = random.normal(size=rows) + groups[:, 0]
    order = random.permutation(rows)
    found = Explained.of(groups, scores)
    changed = Explained.of(
        random.permutation(8)[groups[order]],
        (scores[order] * factor + shift) * (-1 if flip else 1),
    )
    assert changed.squares == pytest.approx(found.squares, abs=1e-6)
    assert changed.errors == pytest.approx(found.errors, abs=1e-6)
    assert np.all((found.ratios >= 0) & (found.ratios <= 1))


def weeks_of(seed: int, change: Change, nature, weeks: int = 4) -> list[DriftReport]:
    return list(judged_weeks(seed, [change] * weeks, nature=nature))


@pytest.fixture(scope="module", params=[INDEPENDENT, SEASONAL], ids=["independent", "seasonal"])
def rewired(request) -> list[DriftReport]:
    """Weeks in which the scores weigh other columns than in training."""
    return weeks_of(0, REWIRED, request.param)


def test_a_model_that_answers_by_other_columns_is_told_from_the_first_week(rewired):
    for report in rewired:
        assert not any(point.is_alarm for point in report.points)
        moved = {point.feature: point for point in report.attributions.points if point.moved}
        assert {"n000", "n001", "n005", "n007"} <= set(moved) <= DECIDE | PAIRED
        for name in DECIDE & set(moved):
            assert moved[name].window < moved[name].baseline - moved[name].half_width
        for name in PAIRED & set(moved):
            assert moved[name].window > moved[name].baseline + moved[name].half_width


def test_it_lasts_once_enough_windows_show_it(rewired):
    assert [report.attributions.lasting > 0 for report in rewired] == [False, False, True, True]
    hits = [
        next(each.hits for each in report.attributions.points if each.feature == "n005")
        for report in rewired
    ]
    assert hits == [1, 2, 3, 4]


def test_those_that_last_come_first_then_those_that_moved_then_the_farthest(rewired):
    for report in rewired:
        found = report.attributions
        ranks = [
            (not each.lasts, not each.moved, -abs(each.window - each.baseline))
            for each in found.points
        ]
        assert ranks == sorted(ranks)
        assert (found.measured, found.baseline_rows, found.window_rows) == (50, 1000, 1000)
        assert found.moved == sum(each.moved for each in found.points)
        assert found.lasting == sum(each.lasts for each in found.points)


@pytest.mark.parametrize("nature", [INDEPENDENT, SEASONAL])
@pytest.mark.parametrize("seed", [7, 8])
def test_without_a_change_nothing_lasts(nature, seed):
    reports = weeks_of(seed, QUIET, nature)
    assert [report.attributions.lasting for report in reports] == [0] * 4


def test_a_rewired_world_differs_in_its_scores_alone():
    weeks = []
    for change in (QUIET, REWIRED):
        world = DriftWorld(5, nature=INDEPENDENT)
        world.profile()
        weeks.append(world.days(7, change))
    quiet, changed = weeks
    for name in ("numbers", "category", "labels", "time_us"):
        assert np.array_equal(getattr(changed, name), getattr(quiet, name))
    assert np.abs(changed.scores - quiet.scores).max() > 0.5
    cuts = np.linspace(0.1, 0.9, 9)
    assert np.quantile(changed.scores, cuts) == pytest.approx(
        np.quantile(quiet.scores, cuts), abs=0.03
    )


def test_what_is_judged_is_the_same_with_and_without_attributions():
    world = DriftWorld(6, nature=SEASONAL)
    profile = world.profile()
    days = world.days(7, REWIRED)
    found = findings(sight_of_days(profile, days), [], TEST)
    without = findings(sight_of_days(replace(profile, held_out=None), days), [], TEST)
    assert found.attributions is not None
    assert found.attributions.moved > 0
    assert without == replace(found, attributions=None)


def test_of_many_features_the_first_hundred_are_told():
    world = DriftWorld(3, nature=INDEPENDENT, columns=120)
    found = findings(sight_of_days(world.profile(), world.days(7)), [], TEST).attributions
    assert (found.measured, len(found.points)) == (120, MOST_POINTS)


def as_score(rows: pa.Table) -> pa.Table:
    """The same rows of a model that answers with its feature."""
    place = rows.schema.get_field_index("f_wind")
    return rows.set_column(place, "f_wind", rows.column("score"))


def observations(world: World, rows: int, **changed) -> pa.Table:
    return as_score(world.observations(rows, MONDAY, MONDAY + 7 * DAY, **changed))


def profile_of(rows: pa.Table) -> Profile:
    """Of a model that answers with its feature."""
    features = {"wind": rows.column("f_wind"), "origin": rows.column("f_origin")}
    times = rows.column("event_time").cast(pa.int64()).to_numpy()
    profiles = feature_profiles(features, categorical={"origin"}, time_us=times)
    scores = rows.column("score").to_numpy()
    held_out = ScoredSample.of(features, profiles, scores, times)
    return replace(World(0).profile(n=500), features=profiles, held_out=held_out)


def attributions(profile: Profile, rows: pa.Table) -> AttributionDrift | None:
    tally = Tally(profile)
    tally.observe(rows)
    sight = sight_of(tally, 7 * DAY)
    assert sight is not None
    return attribution_drift(sight, [], TEST)


def test_a_feature_that_is_not_sent_is_followed_no_more():
    world = World(1)
    profile = profile_of(observations(world, 2000))
    rows = observations(world, 2000)
    assert attributions(profile, rows).moved == 0
    first, second = attributions(profile, rows.drop_columns(["f_wind"])).points
    assert (first.feature, first.moved) == ("wind", True)
    assert first.window < 1e-6
    assert first.baseline > 0.98
    assert (second.feature, second.moved) == ("origin", False)


def rescored(change: Callable[[np.ndarray], None]) -> AttributionDrift | None:
    """Of a window of 900 rows whose scores `change` has changed."""
    world = World(2)
    profile, rows = profile_of(observations(world, 900)), observations(world, 900)
    scores = rows.column("score").to_numpy().copy()
    change(scores)
    place = rows.schema.get_field_index("score")
    return attributions(profile, rows.set_column(place, "score", pa.array(scores)))


def test_scores_that_are_no_numbers_count_for_nothing():
    def broken(scores: np.ndarray) -> None:
        scores[::3] = [np.nan, np.inf, -np.inf] * 100

    found = rescored(broken)
    assert (found.window_rows, found.moved) == (600, 0)


def test_of_scores_that_are_all_the_same_nothing_is_told():
    assert rescored(lambda scores: scores.fill(0.25)) is None


def test_of_too_few_rows_or_without_any_of_training_nothing_is_told():
    world = World(2)
    profile, rows = profile_of(observations(world, 900)), observations(world, 900)
    assert attributions(profile, rows.slice(0, FEWEST_ROWS)).window_rows == FEWEST_ROWS
    assert attributions(profile, rows.slice(0, FEWEST_ROWS - 1)) is None
    assert attributions(profile_of(rows.slice(0, FEWEST_ROWS - 1)), rows) is None
    assert attributions(replace(profile, held_out=None), rows) is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 1499), max_size=4, unique=True), st.integers(0, 2**32 - 1))
def test_rows_in_any_order_and_any_batches_are_sampled_with_their_scores_to_the_same_bits(
    cuts, seed
):
    world = World(3)
    profile, rows = profile_of(observations(world, 900)), observations(world, 1500)
    shuffled = rows.take(pa.array(np.random.default_rng(seed).permutation(1500)))
    whole, cut = Tally(profile), Tally(profile)
    whole.observe(rows)
    for a, b in pairwise([0, *sorted(cuts), 1500]):
        cut.observe(shuffled.slice(a, b - a))
    sample, expected = cut.sampler.sample(), whole.sampler.sample()
    assert sample.scores.dtype == np.float32
    assert sample.scores.tobytes() == expected.scores.tobytes()
    assert sample.scores.size == 1000
    assert np.array_equal(sample.scores, sample.values[:, 0].astype(np.float32))
    sights = [sight_of(each, 7 * DAY) for each in (whole, cut)]
    assert attribution_drift(sights[0], [], TEST) == attribution_drift(sights[1], [], TEST)
