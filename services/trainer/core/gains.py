"""How much better than the trivial baseline a model is, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.failures import NotBetter
from services.trainer.core.scores import Labels, Probabilities

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 1000
BUCKETS: Final = 256
"""Rows of one label and nearly one score are drawn together, so that the number of rows costs
nothing; up to so many scores it is the plain bootstrap of rows."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gain:
    """What a model has over the trivial baseline by one metric; above 0 is better.

    Attributes:
        value: On the rows themselves.
        low: Lower end of the 95 % interval,
        high: and upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MinimumGain:
    """What the lower ends of a winner's gains must exceed.

    Attributes:
        auc: Gain over 0.5.
        log_loss: Nats by which it is lower.
    """

    auc: float = 0.0
    log_loss: float = 0.0


def gains(
    label: Labels, probability: Probabilities, positive_rate: float, seed: int
) -> dict[str, Gain]:
    """The gains in `auc` and `log_loss` over giving each row `positive_rate`.

    Paired: each of 1,000 bootstrap resamples scores both on the same rows. The intervals are the
    percentiles of the differences. Deterministic.

    Args:
        label: int64 [rows]; both labels occur.
        probability: [rows], of label 1.
        positive_rate: Share of label 1 that training saw.
        seed: Of the resamples.
    """
    baseline = np.full(len(label), positive_rate)
    saved = scoring.log_losses(label, baseline) - scoring.log_losses(label, probability)
    cell, counts = _cells(label, probability)
    drawn = np.random.default_rng(seed).multinomial(len(label), counts / len(label), size=RESAMPLES)
    mean_saved = np.bincount(cell, saved, len(counts)) / np.maximum(counts, 1)
    auc = scoring.auc(label, probability) - 0.5
    resampled = _cell_auc(drawn)
    return {
        "auc": _gain(auc, resampled[np.isfinite(resampled)] - _cell_auc(counts[None, :])[0]),
        "log_loss": _gain(
            float(saved.mean()), drawn @ mean_saved / len(label) - float(saved.mean())
        ),
    }


def check_gains(algorithm: str, found: Mapping[str, Gain], minimum: MinimumGain) -> None:
    """That a winner is better than the trivial baseline, and not by luck.

    Raises:
        NotBetter: The lower end of a gain is not above its minimum.
    """
    wanted = {"auc": minimum.auc, "log_loss": minimum.log_loss}
    if all(found[name].low > least for name, least in wanted.items()):
        return
    told = "; ".join(
        f"{name} {found[name].value:+.4f} (95 %: {found[name].low:+.4f} to "
        f"{found[name].high:+.4f}, must stay above {least:g})"
        for name, least in wanted.items()
    )
    raise NotBetter(
        f"the winner, {algorithm}, is not better than the share of positives by what "
        f"minimum_gain asks: on the validation part it gains {told}"
    )


def _gain(value: float, differences: Floats) -> Gain:
    tail = (1 - CONFIDENCE) / 2
    low, high = value + np.quantile(differences, (tail, 1 - tail))
    return Gain(value, float(low), float(high))


def _cells(
    label: Labels, probability: Probabilities
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cell of each row, and rows in each: buckets of label 0 by rising score, then of 1."""
    scores, rank = np.unique(probability, return_inverse=True)
    if len(scores) > BUCKETS:
        edges = np.quantile(probability, np.linspace(0, 1, BUCKETS + 1)[1:-1])
        rank = np.searchsorted(edges, probability, side="right")
    cell = rank.astype(np.int64) + BUCKETS * label
    return cell, np.bincount(cell, minlength=2 * BUCKETS)


def _cell_auc(drawn: npt.NDArray[np.int64]) -> Floats:
    """float64 [resamples]: AUC less 0.5 of rows counted by cell; NaN where a label is absent."""
    zeros, ones = drawn[:, :BUCKETS].astype(np.float64), drawn[:, BUCKETS:].astype(np.float64)
    below = np.cumsum(zeros, axis=1) - zeros / 2
    pairs = zeros.sum(axis=1) * ones.sum(axis=1)
    won: Floats = (ones * below).sum(axis=1)
    auc: Floats = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
    return auc - 0.5
