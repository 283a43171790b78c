"""Verdicts on rollouts, however often they are asked for."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from services.common.criteria import Criteria, Finding, Measure, PassRule, Verdict
from services.monitor.core.quality import UNKNOWN, quality
from services.monitor.core.verdicts import (
    REPORTED_SLICES,
    RolloutVerdict,
    judge_rollout,
    verdict_on,
)
from tests.support.trials import CANDIDATE, Requests, feed, trial_of

SLICED = Criteria(slices=("carrier",))


def judged(
    criteria: Criteria | None = None,
    *,
    n: int = 1200,
    champion_n: int = 2400,
    min_outcomes: int = 300,
    seed: int = 1,
    **harm: float | np.ndarray,
) -> RolloutVerdict:
    """The verdict on a candidate with `harm` beside a sound champion."""
    criteria = criteria or Criteria()
    requests = Requests(seed)
    trial = trial_of(criteria)
    feed(trial, requests.batch(champion_n), requests.batch(n, CANDIDATE, **harm))
    return judge_rollout(trial, criteria, min_outcomes=min_outcomes)


def culprits(verdict: RolloutVerdict) -> list[tuple[Measure, str]]:
    return [
        (found.measure, found.slice_value)
        for found in verdict.findings
        if found.verdict is Verdict.FAIL
    ]


def found(verdict: RolloutVerdict, measure: Measure) -> Finding:
    return next(each for each in verdict.findings if each.measure is measure)


def test_an_equal_version_passes_once_there_is_enough() -> None:
    verdict = judged()
    assert verdict.verdict is Verdict.PASS
    assert verdict.numbers["candidate_requests"] == 1200
    assert verdict.numbers["champion_predictions"] + verdict.numbers["champion_failed"] == 2400
    assert verdict.numbers["alpha"] == 0.05
    assert {each.measure for each in verdict.findings} == {
        Measure.FAILED_SHARE,
        Measure.SLOW_SHARE,
        Measure.LOG_LOSS,
    }
    for each in verdict.findings:
        assert each.lower is not None
        assert each.upper is not None
        assert each.lower <= each.effect <= each.upper
        assert each.effect == pytest.approx(each.candidate_value - each.champion_value)
        assert each.reason


@pytest.mark.parametrize(
    ("harm", "measure"),
    [
        ({"failing": 0.05}, Measure.FAILED_SHARE),
        ({"slower": 1.5}, Measure.SLOW_SHARE),
        ({"skill": -0.5}, Measure.LOG_LOSS),
    ],
)
def test_each_harm_is_proven_by_its_own_measure(harm: dict[str, float], measure: Measure) -> None:
    verdict = judged(**harm)
    assert verdict.verdict is Verdict.FAIL
    assert culprits(verdict) == [(measure, "")]
    finding = found(verdict, measure)
    assert finding.lower is not None
    assert finding.lower > finding.tolerance
    assert verdict.reason == finding.reason


@pytest.mark.parametrize("loss", [Measure.BRIER, Measure.WRONG_SHARE])
def test_quality_is_measured_as_the_plan_says(loss: Measure) -> None:
    criteria = Criteria(loss=loss, max_loss_rise=0.01)
    verdict = judged(criteria, skill=-0.5)
    assert culprits(verdict) == [(loss, "")]
    assert judged(criteria).verdict is Verdict.PASS


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_a_shift_of_the_score_is_harm_to_either_side_where_it_is_tested(shift: float) -> None:
    tested = Criteria(max_score_shift=0.02, max_loss_rise=1.0)
    assert (Measure.MEAN_SCORE, "") in culprits(judged(tested, shift=shift))
    assert judged(Criteria(max_loss_rise=1.0), shift=shift).verdict is Verdict.PASS


def test_harm_in_a_slice_of_one_request_in_twenty_is_found_and_named() -> None:
    requests = Requests(3)
    carriers = requests.carriers(4000)
    failing = np.where(np.array(carriers) == "HA", 0.15, 0.002)
    harmful = requests.batch(4000, CANDIDATE, failing=failing, carriers=carriers)
    sound = requests.batch(4000)
    verdict = judge_rollout(feed(trial_of(SLICED), sound, harmful), SLICED, min_outcomes=300)
    assert culprits(verdict) == [(Measure.FAILED_SHARE, "HA")]
    assert "carrier is HA" in verdict.reason
    blind = judge_rollout(feed(trial_of(), sound, harmful), Criteria(), min_outcomes=300)
    assert blind.verdict is Verdict.PASS


def test_the_tests_spend_no_more_than_alpha_together() -> None:
    verdict = judged(SLICED)
    overall = sum(each.alpha for each in verdict.findings if not each.slice_feature)
    assert overall == pytest.approx(0.025)
    (each_slice,) = {each.alpha for each in verdict.findings if each.slice_feature}
    assert 20 * 3 * each_slice == pytest.approx(0.025)
    reported = [each for each in verdict.findings if each.slice_feature]
    assert len(reported) <= 3 * REPORTED_SLICES
    assert sum(each.alpha for each in judged().findings) == pytest.approx(0.05)


def test_too_few_outcomes_are_inconclusive() -> None:
    verdict = judged(n=100)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "300 are asked for" in verdict.reason


def test_too_few_requests_are_inconclusive_though_no_outcome_is_asked_for() -> None:
    asked = Criteria(min_requests=1300)
    assert judged(asked, min_outcomes=0).verdict is Verdict.INCONCLUSIVE
    assert judged(asked, n=1300, min_outcomes=0).verdict is Verdict.PASS


def test_harm_that_is_seen_but_may_be_chance_does_not_pass() -> None:
    verdict = judged(n=300, skill=0.8, min_outcomes=100)
    assert found(verdict, Measure.LOG_LOSS).effect > 0.02
    assert verdict.verdict is Verdict.INCONCLUSIVE


def test_a_plan_may_ask_that_harm_is_excluded() -> None:
    strict = Criteria(pass_rule=PassRule.HARM_EXCLUDED, max_loss_rise=0.1, max_failed_rise=0.02)
    early, late = judged(strict, n=400), judged(strict, n=3000, champion_n=6000)
    assert early.verdict is Verdict.INCONCLUSIVE
    assert late.verdict is Verdict.PASS
    assert all(each.verdict is Verdict.PASS for each in late.findings)


def test_no_evidence_is_inconclusive() -> None:
    trial = trial_of()
    assert judge_rollout(trial, Criteria(), min_outcomes=0).verdict is Verdict.INCONCLUSIVE
    feed(trial, Requests(1).batch(100))
    assert judge_rollout(trial, Criteria(), min_outcomes=0).verdict is Verdict.INCONCLUSIVE


def test_with_all_the_traffic_enough_of_the_new_version_suffices() -> None:
    trial = feed(trial_of(), Requests(1).batch(310, CANDIDATE, failing=0.0))
    ask = {"criteria": Criteria(), "alone": True}
    assert judge_rollout(trial, min_outcomes=310, **ask).verdict is Verdict.PASS
    assert judge_rollout(trial, min_outcomes=311, **ask).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("score", [0.3, 1.2])
def test_unusable_scores_fail_without_any_outcome(score: float) -> None:
    trial = trial_of()
    seen, _ = Requests(1).batch(60, CANDIDATE)
    column = seen.rows.column_names.index("score")
    rows = seen.rows.set_column(column, "score", np.full((1, 60), score, np.float32).tolist())
    rows = rows.cast(seen.rows.schema)
    trial.observe(type(seen)(1, 1, rows))
    assert judge_rollout(trial, Criteria(), min_outcomes=0).verdict is Verdict.FAIL


def test_a_harmless_version_is_hardly_ever_failed_though_judged_after_every_batch() -> None:
    failed = 0
    for seed in range(20):
        requests, trial = Requests(seed), trial_of(SLICED)
        for _ in range(10):
            feed(trial, requests.batch(100), requests.batch(20, CANDIDATE))
            if verdict_on(trial, SLICED, min_outcomes=10**6) is Verdict.FAIL:
                failed += 1
                break
    assert failed <= 2


def test_slow_is_what_the_plan_says() -> None:
    objective = Criteria(slow_after=timedelta(milliseconds=4))
    finding = found(judged(objective), Measure.SLOW_SHARE)
    assert finding.candidate_n + 10 > 1200
    assert finding.champion_value > 0.5
    assert finding.effect == pytest.approx(0, abs=0.1)


def test_quality_counts_predictions_without_outcome_but_does_not_score_them() -> None:
    labels = np.array([0, 1, UNKNOWN, 1, 0], np.int8)
    scores = np.array([0.2, 0.9, 0.5, 0.6, 0.4], np.float32)
    known = quality(labels, scores)
    assert (known.predictions, known.outcomes) == (5, 4)
    assert known.metrics["auc"] == 1.0
    assert known.metrics["positive_rate"] == 0.5
    assert known.half_widths["log_loss"] > 0


def test_quality_of_one_class_has_no_auc_and_of_nothing_no_score() -> None:
    one_class = quality(np.array([1, 1], np.int8), np.array([0.4, 0.6], np.float32))
    assert "auc" not in one_class.metrics
    assert "log_loss" in one_class.metrics
    nothing = quality(np.array([UNKNOWN], np.int8), np.array([0.4], np.float32))
    assert (nothing.metrics, nothing.outcomes) == ({}, 0)
