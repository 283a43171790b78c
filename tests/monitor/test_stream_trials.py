"""What two versions did is counted alike however its log is cut, in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.criteria import Criteria, Measure
from services.common.scoring import log_losses
from services.monitor.core.sequential import (
    Mean,
    Share,
    is_above,
    mean_difference,
    share_difference,
)
from services.monitor.core.stream import trials
from services.monitor.core.stream.trials import ClusteredSums
from tests.support.monitor_values import CHAMPION
from tests.support.predictions import outcomes
from tests.support.trials import CANDIDATE, Requests, feed, trial_of

SLICED = Criteria(slices=("carrier",))
SHARES = st.integers(1, 3000).flatmap(lambda n: st.builds(Share, st.just(n), st.integers(0, n)))


def test_a_trial_counts_what_a_plain_count_finds() -> None:
    seen, learned = Requests(1).batch(2000, CANDIDATE, failing=0.1)
    overall = feed(trial_of(), (seen, learned)).candidate.overall
    rows = seen.rows.to_pandas()
    good = rows[~rows["failed"]]
    assert overall.requests == 2000
    assert overall.failed == rows["failed"].sum()
    assert overall.scores.rows == overall.losses.rows == len(good)
    losses = log_losses(learned.rows["outcome"].to_numpy(), good["score"].to_numpy())
    mean = overall.losses.mean()
    assert mean.value == pytest.approx(losses.mean(), abs=1e-6)
    assert mean.standard_error == pytest.approx(losses.std(ddof=1) / np.sqrt(len(losses)), rel=1e-4)


def test_slices_add_up_to_the_whole() -> None:
    record = feed(trial_of(SLICED), Requests(2).batch(1000, CANDIDATE)).candidate
    parts = [tally for key, tally in record.slices.items() if key[0]]
    assert len(parts) == 4
    for count in ("requests", "failed", "timed", "slow"):
        assert sum(getattr(part, count) for part in parts) == getattr(record.overall, count)
    assert sum(part.losses.total for part in parts) == record.overall.losses.total


def test_no_more_slices_are_counted_than_have_a_share_of_alpha() -> None:
    requests = Requests(3)
    batch = requests.batch(500, CANDIDATE, carriers=[f"c{i}" for i in range(500)])
    trial = feed(trial_of(SLICED), batch)
    assert len(list(trial.slices)) == trials.MAX_SLICE_VALUES
    assert trial.candidate.overall.requests == 500


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 59), max_size=3), st.booleans())
def test_however_the_log_is_cut_the_counts_are_the_same(cuts: list[int], twice: bool) -> None:
    pairs = [Requests(4).batch(60), Requests(5).batch(60, CANDIDATE)]
    whole, parts = trial_of(SLICED), trial_of(SLICED)
    for seen, learned in pairs:
        whole.observe(seen)
        whole.learn(learned)
        bounds = [0, *sorted(cuts), 60]
        for start, end in pairwise(bounds):
            part = replace(seen, rows=seen.rows.slice(start, end - start))
            for _ in range(1 + twice):
                parts.observe(part)
        for _ in range(1 + twice):
            parts.learn(learned)
    assert repr([whole.candidate, whole.champion]) == repr([parts.candidate, parts.champion])


def test_an_outcome_that_comes_before_its_prediction_counts() -> None:
    seen, learned = Requests(6).batch(50, CANDIDATE)
    early, late = trial_of(), feed(trial_of(), (seen, learned))
    early.learn(learned)
    early.observe(seen)
    assert early.candidate.overall.losses.total == late.candidate.overall.losses.total


def test_what_came_before_the_phase_or_concerns_others_is_passed_over() -> None:
    requests = Requests(7)
    trial = trial_of(since_us=100)
    seen, learned = requests.batch(50, CANDIDATE)
    feed(trial, (replace(seen, arrival_us=99), learned))
    feed(trial, requests.batch(50, CHAMPION[:-1] + "7"))
    assert trial.candidate.overall.requests == trial.champion.overall.requests == 0
    trial.observe(replace(seen, arrival_us=100))
    assert trial.candidate.overall.requests == 50


def test_awaited_predictions_are_thinned_out_and_never_too_many(monkeypatch) -> None:
    monkeypatch.setattr(trials, "MAX_AWAITED", 200)
    trial, requests = trial_of(), Requests(8)
    batches = [requests.batch(500, CANDIDATE, failing=0.0) for _ in range(4)]
    for seen, _ in batches:
        trial.observe(seen)
        assert len(trial._awaited) <= 200
    for _, learned in batches:
        trial.learn(learned)
    assert 50 <= trial.candidate.overall.losses.rows <= 200
    assert trial.candidate.overall.scores.rows == 2000


def test_only_the_first_outcome_of_a_prediction_counts() -> None:
    seen, _ = Requests(9).batch(1, CANDIDATE, failing=0.0)
    (prediction,) = seen.rows["prediction_id"].to_pylist()
    trial = trial_of(Criteria(loss=Measure.WRONG_SHARE))
    trial.observe(seen)
    for came in (0, 1, 1):
        trial.learn(replace(feeding(prediction, came), position=9))
    assert trial.candidate.overall.losses.rows == 1


def feeding(prediction: str, came: int):
    return Requests(0).batch(1)[1].__class__(1, 1, outcomes([prediction], [came], [0]))


def test_rows_of_one_moment_count_as_one_piece_of_evidence() -> None:
    values = np.random.default_rng(1).integers(0, 1_000_000, 400).tolist()
    apart, together = ClusteredSums(), ClusteredSums()
    for index, value in enumerate(values):
        apart.add(index, value)
    for index in range(400):
        together.add(index // 20, values[index // 20])
    assert together.clusters == 20
    assert together.mean().standard_error > 3 * apart.mean().standard_error


@settings(max_examples=40, deadline=None)
@given(SHARES, SHARES, st.sampled_from([0.05, 0.001]))
def test_the_bounds_of_a_difference_of_shares_hold_it_and_mirror_it(
    one: Share, two: Share, alpha: float
) -> None:
    bounds = share_difference(one, two, alpha)
    estimate = one.hits / one.n - two.hits / two.n
    assert -1 <= bounds.lower <= estimate + 1e-6
    assert estimate - 1e-6 <= bounds.upper <= 1
    mirrored = share_difference(two, one, alpha)
    assert bounds.lower == pytest.approx(-mirrored.upper, abs=1e-5)
    more = Share(10 * one.n, 10 * one.hits), Share(10 * two.n, 10 * two.hits)
    assert share_difference(*more, alpha).lower >= bounds.lower - 1e-5
    assert share_difference(one, two, alpha / 10).lower <= bounds.lower + 1e-5


def test_shares_at_the_tolerated_difference_are_hardly_ever_told_apart_from_it() -> None:
    random = np.random.default_rng(10)
    wrong = 0
    for _ in range(100):
        new, old = random.random((1000,)) < 0.06, random.random((4000,)) < 0.05
        wrong += any(
            is_above(Share(n, int(new[:n].sum())), Share(4 * n, int(old[: 4 * n].sum())), 0.01, 0.1)
            for n in range(50, 1001, 190)
        )
    assert wrong <= 10


def test_the_bounds_of_a_mean_narrow_with_evidence_and_widen_with_certainty() -> None:
    def width(n: int, alpha: float) -> float:
        bounds = mean_difference(Mean(n, 0.0, n**-0.5), Mean(n, 0.0, n**-0.5), alpha)
        assert bounds is not None
        return bounds.upper

    widths = [width(n, 0.05) for n in (60, 500, 5000)]
    assert widths[0] > widths[1] > widths[2]
    assert width(500, 0.01) > widths[1]
    # At most three times a fixed-sample bound where it is tightest.
    assert widths[1] < 3 * 1.645 * (2 / 500) ** 0.5
    assert mean_difference(Mean(49, 0.0, 1.0), Mean(5000, 0.0, 1.0), 0.05) is None
