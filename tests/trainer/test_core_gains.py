"""Gains over the trivial baseline, and what a winner has to have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import scoring
from services.trainer.core.failures import NotBetter
from services.trainer.core.gains import BUCKETS, Gain, MinimumGain, check_gains, gains


def scored(
    rows: int, strength: float, seed: int = 0, positive: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and honest probabilities of them; `strength` 0 knows nothing."""
    random = np.random.default_rng(seed)
    logit = np.log(positive / (1 - positive)) + strength * random.normal(size=rows)
    probability = 1 / (1 + np.exp(-logit))
    label = (random.random(rows) < probability).astype(np.int64)
    label[:2] = (0, 1)
    return label, probability


@given(st.integers(20, 400), st.floats(0, 3), st.integers(0, 50))
def test_gains_are_the_differences_of_the_scores_and_lie_in_their_intervals(
    rows: int, strength: float, seed: int
) -> None:
    label, probability = scored(rows, strength, seed)
    found = gains(label, probability, 0.3, seed)
    baseline = np.full(rows, 0.3)
    assert found["auc"].value == pytest.approx(scoring.auc(label, probability) - 0.5)
    assert found["log_loss"].value == pytest.approx(
        scoring.log_loss(label, baseline) - scoring.log_loss(label, probability)
    )
    for gain in found.values():
        assert gain.low <= gain.value <= gain.high
    assert found == gains(label, probability, 0.3, seed)


@pytest.mark.parametrize("rows", [BUCKETS // 2, 4000])
def test_intervals_are_as_wide_as_resampling_the_rows_themselves_makes_them(rows: int) -> None:
    label, probability = scored(rows, 1.0)
    found = gains(label, probability, 0.3, 1)
    random = np.random.default_rng(2)
    saved = scoring.log_losses(label, np.full(rows, 0.3)) - scoring.log_losses(label, probability)
    draws = [random.integers(rows, size=rows) for _ in range(400)]
    aucs = [scoring.auc(label[draw], probability[draw]) - 0.5 for draw in draws]
    losses = [saved[draw].mean() for draw in draws]
    for gain, plain in ((found["auc"], aucs), (found["log_loss"], losses)):
        low, high = np.quantile(plain, (0.025, 0.975))
        assert gain.high - gain.low == pytest.approx(high - low, rel=0.2)
        assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_guesses_gain_nothing_beyond_luck_in_nearly_all_draws() -> None:
    lucky = 0
    for seed in range(40):
        label, _ = scored(300, 0.0, seed)
        guess = np.random.default_rng(seed + 1000).uniform(0.2, 0.4, 300)
        lucky += gains(label, guess, 0.3, seed)["auc"].low > 0
    assert lucky <= 4


def test_a_rare_label_makes_no_model_better_for_being_accurate() -> None:
    label, _ = scored(2000, 0.0, positive=0.02)
    sure = np.full(2000, 0.001)
    assert np.mean((sure > 0.5) == label) > 0.97
    with pytest.raises(NotBetter, match="minimum_gain"):
        check_gains("mlp", gains(label, sure, 0.02, 0), MinimumGain())


@pytest.mark.parametrize(
    ("auc_low", "log_loss_low", "good"),
    [(0.06, 0.01, True), (0.05, 0.01, False), (0.06, 0.0, False), (0.06, -0.01, False)],
)
def test_the_lower_ends_of_both_gains_must_be_above_the_minimum(
    auc_low: float, log_loss_low: float, good: bool
) -> None:
    found = {"auc": Gain(0.1, auc_low, 0.2), "log_loss": Gain(0.02, log_loss_low, 0.03)}
    minimum = MinimumGain(auc=0.05)
    if good:
        check_gains("mlp", found, minimum)
        return
    with pytest.raises(NotBetter) as refused:
        check_gains("mlp", found, minimum)
    assert f"{auc_low:+.4f} to +0.2000" in str(refused.value)
