"""How much better than the trivial baseline a model is, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core import multiclass
from services.trainer.core.failures import NotBetter
from services.trainer.core.regression import Quantities
from services.trainer.core.scores import Labels, Probabilities

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 1000
BUCKETS: Final = 256
"""Rows of one label and nearly one score are drawn together, so that the number of rows costs
nothing; up to so many scores it is the plain bootstrap of rows."""

MOST_CELLS: Final = 4096
"""Rows whose losses are neighbours are drawn together; up to so many it is the plain bootstrap."""

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
    """What the lower ends of a winner's gains must exceed; those that its task has.

    Attributes:
        auc: Gain over 0.5.
        log_loss: Nats by which it is lower.
        balanced_accuracy: Gain over one part in as many as there are classes.
        rmse: Part of the baseline's by which it is lower.
        r2: By which it is higher.
    """

    auc: float = 0.0
    log_loss: float = 0.0
    balanced_accuracy: float = 0.0
    rmse: float = 0.0
    r2: float = 0.0


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


def class_gains(
    label: Labels, probabilities: Probabilities, baseline: Probabilities, seed: int
) -> dict[str, Gain]:
    """The gains in `balanced_accuracy` and `log_loss` of several classes over `baseline`.

    Bootstrapped as `gains` is. The baseline tells every row the same class, so that its balanced
    accuracy is one part in as many as have rows, in each resample too.

    Args:
        label: int64 [rows].
        probabilities: [rows, classes].
        baseline: [rows, classes], the same in each row.
        seed: Of the resamples.
    """
    random = np.random.default_rng(seed)
    rows, classes = probabilities.shape
    confusion = multiclass.confusion_of(label, probabilities)
    drawn = random.multinomial(rows, confusion.ravel() / rows, size=RESAMPLES)
    told = _over_guessing(drawn.reshape(RESAMPLES, classes, classes))
    value = float(_over_guessing(confusion))
    saved = multiclass.log_losses(label, baseline) - multiclass.log_losses(label, probabilities)
    return {
        "balanced_accuracy": _gain(value, told - value),
        "log_loss": _gain(float(saved.mean()), _resampled_mean(saved, random) - saved.mean()),
    }


def quantity_gains(
    target: Quantities, predicted: Quantities, baseline: Quantities, seed: int
) -> dict[str, Gain]:
    """The gains in `rmse` and `r2` of predicted quantities over `baseline`.

    That in `rmse` is the part of the baseline's by which it is lower: 0.2 is a fifth less.
    Bootstrapped as `gains` is; beyond 4,096 rows, groups of them that chance has put together are
    drawn, which leaves the spread of every mean as it is.

    Args:
        target: float [rows], two values at least.
        predicted: float [rows].
        baseline: float [rows], the same in each row.
        seed: Of the groups and the resamples.
    """
    random = np.random.default_rng(seed)
    centred = target.astype(np.float64) - target.mean()
    squared = (predicted - target) ** 2, (baseline - target) ** 2
    moments = (np.ones(len(target)), *squared, centred, centred**2)
    groups = min(MOST_CELLS, len(target))
    group = random.permutation(len(target)) % groups
    sums = np.stack([np.bincount(group, each, groups) for each in moments], axis=1)
    drawn = random.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    value, resampled = _quantity_gain(sums.sum(axis=0)), _quantity_gain(np.asarray(drawn @ sums))
    return {
        name: _gain(float(value[name]), found[np.isfinite(found)] - value[name])
        for name, found in resampled.items()
    }


def check_gains(algorithm: str, found: Mapping[str, Gain], minimum: MinimumGain) -> None:
    """That a winner is better than the trivial baseline, and not by luck.

    Raises:
        NotBetter: The lower end of a gain is not above its minimum.
    """
    wanted = {name: float(getattr(minimum, name)) for name in found}
    if all(found[name].low > least for name, least in wanted.items()):
        return
    told = "; ".join(
        f"{name} {found[name].value:+.4f} (95 %: {found[name].low:+.4f} to "
        f"{found[name].high:+.4f}, must stay above {least:g})"
        for name, least in wanted.items()
    )
    raise NotBetter(
        f"the winner, {algorithm}, is not better than the trivial baseline by what "
        f"minimum_gain asks: on the validation part it gains {told}"
    )


def _gain(value: float, differences: Floats) -> Gain:
    tail = (1 - CONFIDENCE) / 2
    low, high = value + np.quantile(differences, (tail, 1 - tail))
    return Gain(value, float(low), float(high))


def _quantity_gain(moments: Floats) -> dict[str, Floats]:
    """Gains [...] by metric, of the sums [..., 5] that `quantity_gains` takes; NaN without any."""
    rows, mine, theirs, first, second = np.moveaxis(moments, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = second - first**2 / rows
        return {"rmse": 1 - np.sqrt(mine / theirs), "r2": (theirs - mine) / variance}


def _over_guessing(confusion: multiclass.Confusion) -> Floats:
    """float64 [...]: balanced accuracy less that of telling one class always."""
    present = (confusion.sum(axis=-1) > 0).sum(axis=-1)
    return np.asarray(multiclass.balanced_accuracy(confusion) - 1 / present)


def _resampled_mean(values: Floats, random: np.random.Generator) -> Floats:
    """float64 [resamples]: the mean of resampled rows."""
    cells = np.array_split(np.sort(values), min(MOST_CELLS, len(values)))
    counts = np.array([len(cell) for cell in cells])
    means = np.array([cell.mean() for cell in cells])
    drawn = random.multinomial(len(values), counts / len(values), size=RESAMPLES)
    return np.asarray(drawn @ means / len(values))


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
