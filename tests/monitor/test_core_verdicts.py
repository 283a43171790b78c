"""Verdicts on rollouts, however often they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor.core.quality import UNKNOWN, quality
from services.monitor.core.verdicts import (
    ALPHA,
    Predictions,
    Verdict,
    confidence_sequence_half_width,
    judge_rollout,
)


def predictions(n: int, seed: int, skill: float = 1.0, rate: float = 0.25) -> Predictions:
    """Calibrated scores, bent by `skill`: 1 is honest, below 0 is harmful."""
    generator = np.random.default_rng(seed)
    truth = generator.beta(1, 1 / rate - 1, size=n)
    labels = (generator.random(n) < truth).astype(np.int8)
    scores = np.clip(0.5 + skill * (truth - 0.5), 0.001, 0.999).astype(np.float32)
    return Predictions(scores, labels, moments(n))


def moments(n: int) -> np.ndarray:
    """Times of `n` predictions over one hour, the same hour for every version."""
    return np.linspace(0, 3_600_000_000, n).astype(np.int64)


def unknown(n: int) -> Predictions:
    scores = np.linspace(0.1, 0.9, n, dtype=np.float32)
    return Predictions(scores, np.full(n, UNKNOWN, np.int8), moments(n))


NOTHING = Predictions(np.empty(0, np.float32), np.empty(0, np.int8), np.empty(0, np.int64))


def test_an_equal_version_passes_once_there_is_enough() -> None:
    verdict = judge_rollout(predictions(400, 1), predictions(8000, 2), min_outcomes=300)
    assert verdict.verdict is Verdict.PASS
    assert verdict.numbers["candidate_outcomes"] == 400
    assert verdict.numbers["champion_predictions"] == 8000
    assert verdict.numbers["alpha"] == ALPHA
    assert {"candidate_auc", "champion_auc", "log_loss_difference", "half_width"} <= set(
        verdict.numbers
    )


def test_a_harmful_version_fails_before_there_is_enough() -> None:
    verdict = judge_rollout(predictions(200, 1, skill=-1.0), predictions(4000, 2), min_outcomes=300)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.numbers["log_loss_difference"] > verdict.numbers["half_width"]


def test_too_few_outcomes_are_inconclusive() -> None:
    verdict = judge_rollout(predictions(50, 1), predictions(1000, 2), min_outcomes=300)
    assert verdict.verdict is Verdict.INCONCLUSIVE


def test_a_rise_beyond_the_margin_that_may_be_chance_is_inconclusive() -> None:
    candidate, champion = predictions(300, 1, skill=0.6), predictions(5000, 2)
    verdict = judge_rollout(candidate, champion, min_outcomes=300)
    assert 0.02 < verdict.numbers["log_loss_difference"] < verdict.numbers["half_width"]
    assert verdict.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("candidate", [NOTHING, unknown(500)])
def test_no_outcome_is_inconclusive(candidate: Predictions) -> None:
    verdict = judge_rollout(candidate, predictions(1000, 2), min_outcomes=1)
    assert verdict.verdict is Verdict.INCONCLUSIVE


def test_with_all_the_traffic_enough_outcomes_suffice() -> None:
    assert judge_rollout(predictions(300, 1), NOTHING, min_outcomes=300).verdict is Verdict.PASS
    early = judge_rollout(predictions(299, 1), NOTHING, min_outcomes=300)
    assert early.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "scores",
    [
        np.full(60, 0.3, np.float32),
        np.array([0.1, np.nan], np.float32),
        np.array([0.1, 1.2], np.float32),
    ],
)
def test_unusable_scores_fail_without_any_outcome(scores: np.ndarray) -> None:
    candidate = Predictions(scores, np.full(scores.size, UNKNOWN, np.int8), moments(scores.size))
    assert judge_rollout(candidate, NOTHING, min_outcomes=0).verdict is Verdict.FAIL


def test_a_harmless_version_is_hardly_ever_failed_though_judged_after_every_batch() -> None:
    failed = 0
    for seed in range(100):
        candidate, champion = predictions(1000, 2 * seed), predictions(9000, 2 * seed + 1)
        failed += any(
            judge_rollout(
                Predictions(candidate.scores[:n], candidate.labels[:n], moments(n)),
                Predictions(champion.scores[: 9 * n], champion.labels[: 9 * n], moments(9 * n)),
                min_outcomes=n,
            ).verdict
            is Verdict.FAIL
            for n in range(20, 1001, 40)
        )
    assert failed <= 100 * ALPHA


def test_the_confidence_sequence_narrows_with_evidence_and_widens_with_certainty() -> None:
    widths = [confidence_sequence_half_width(n, 1.0, 0.05) for n in (50, 500, 5000)]
    assert widths[0] > widths[1] > widths[2]
    assert confidence_sequence_half_width(500, 1.0, 0.01) > widths[1]
    # At most three times a fixed-sample interval where it is tightest.
    assert widths[1] < 3 * 1.96 / np.sqrt(500)


def test_quality_counts_predictions_without_outcome_but_does_not_score_them() -> None:
    labels = np.array([0, 1, UNKNOWN, 1, 0], np.int8)
    scores = np.array([0.2, 0.9, 0.5, 0.6, 0.4], np.float32)
    found = quality(labels, scores)
    assert (found.predictions, found.outcomes) == (5, 4)
    assert found.metrics["auc"] == 1.0
    assert found.metrics["positive_rate"] == 0.5
    assert found.half_widths["log_loss"] > 0


def test_quality_of_one_class_has_no_auc_and_of_nothing_no_score() -> None:
    one_class = quality(np.array([1, 1], np.int8), np.array([0.4, 0.6], np.float32))
    assert "auc" not in one_class.metrics
    assert "log_loss" in one_class.metrics
    nothing = quality(np.array([UNKNOWN], np.int8), np.array([0.4], np.float32))
    assert (nothing.metrics, nothing.outcomes) == ({}, 0)


def test_rows_of_one_moment_count_as_one_piece_of_evidence() -> None:
    rows = predictions(600, 3)
    moment = np.repeat(moments(30), 20)
    labels = np.tile(np.repeat([0, 1], 20), 15).astype(np.int8)
    champion = predictions(8000, 4)
    crowded = Predictions(rows.scores, labels, moment)
    spread = Predictions(rows.scores, labels, moments(600))
    wide = judge_rollout(crowded, champion, min_outcomes=300).numbers["half_width"]
    narrow = judge_rollout(spread, champion, min_outcomes=300).numbers["half_width"]
    assert wide > 2 * narrow


def test_hours_in_which_the_old_version_did_not_serve_are_not_compared() -> None:
    champion, alike = predictions(8000, 4), predictions(400, 1)
    harmful = predictions(200, 2, skill=-1.0)
    later = Predictions(
        np.concatenate([alike.scores, harmful.scores]),
        np.concatenate([alike.labels, harmful.labels]),
        np.concatenate([alike.event_us, harmful.event_us + 2 * 3_600_000_000]),
    )
    alone = judge_rollout(alike, champion, min_outcomes=300)
    compared = judge_rollout(later, champion, min_outcomes=300)
    assert compared.numbers["log_loss_difference"] == alone.numbers["log_loss_difference"]


def test_half_the_traffic_each_is_compared_before_it_passes() -> None:
    verdict = judge_rollout(predictions(310, 1), predictions(290, 2), min_outcomes=300)
    assert verdict.verdict is Verdict.INCONCLUSIVE
