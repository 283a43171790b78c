"""Whether a version decides alike for groups of rows: rates of each group, and how far apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.scores import Labels, Probabilities
from services.trainer.core.tables import Strings

RESAMPLES: Final = 1000
FEWEST_CASES: Final = 10
"""Rows that a rate must be a share of, such as those of label 1 for the true-positive rate."""

_Z: Final = 1.959964
"""Quantile of the normal distribution at .975."""

_BINS: Final = scoring.CALIBRATION_BINS
_TAILS: Final = (0.025, 0.975)

Floats = npt.NDArray[np.float64]

RATES: Final = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")
BIAS: Final = "calibration_bias"

DISPARITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "demographic_parity_difference": ("selection_rate",),
    "demographic_parity_ratio": ("selection_rate",),
    "equal_opportunity_difference": ("true_positive_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "predictive_parity_difference": ("precision",),
    "calibration_difference": (BIAS,),
}
"""What each is taken from: the largest less the smallest of the groups (of two, the larger such
difference), or the smallest over the largest. Dwork et al., 2012 (demographic parity); Hardt et
al., Equality of Opportunity in Supervised Learning, 2016; Chouldechova, 2017 (predictive parity);
Kleinberg et al., 2016 (calibration within groups). As fairlearn computes those that it has."""


@dataclass(frozen=True, slots=True)
class Fairness:
    """What a spec asks to be compared.

    Attributes:
        columns: Slice columns whose values are the groups.
        min_group_rows: Rows that a group must have.
    """

    columns: tuple[str, ...]
    min_group_rows: int = 50


@dataclass(frozen=True, eq=False)
class Decisions:
    """What rows were given, and what is right.

    Attributes:
        label: int64 [rows], 0 or 1.
        probability: Float [rows], of label 1.
        threshold: Lowest probability at which the decision is 1.
    """

    label: Labels
    probability: Probabilities
    threshold: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number of one group with its 95 % interval.

    Attributes:
        value: On the rows themselves.
        low: Lower end: Wilson's of a rate, the percentile of the bootstrap of another number.
        high: Upper end.
        standard_error: Half the interval over 1.96.
        cases: Rows that it is a share or a mean of.
    """

    value: float
    low: float
    high: float
    standard_error: float
    cases: int


@dataclass(frozen=True, slots=True)
class Group:
    """What was decided for the rows with one value.

    Attributes:
        value: Of the column; '' is missing.
        rows: How many.
        estimates: Of `RATES` and `BIAS` (mean probability less share of label 1), those that are
            shares of `FEWEST_CASES` rows at least.
    """

    value: str
    rows: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Disparity:
    """How far groups are apart by one measure, with a 95 % interval of the bootstrap.

    Attributes:
        value: On the rows themselves.
        low: Lower end of the interval.
        high: Upper end.
        standard_error: Deviation of the resamples.
        by_chance: What luck alone makes in 19 of 20 draws where groups of these sizes are alike:
            at most so much of a difference, at least so much of a ratio.
        lowest: Group with the smallest rate.
        highest: Group with the largest.
    """

    value: float
    low: float
    high: float
    standard_error: float
    by_chance: float
    lowest: str
    highest: str


@dataclass(frozen=True, slots=True)
class ColumnFairness:
    """The groups of one column beside each other.

    Attributes:
        column: Whose values they are.
        groups: Those with enough rows, by value.
        left_out: Rows of those with fewer, by value.
        disparities: By names of `DISPARITIES`; those that two groups at least have a rate for.
    """

    column: str
    groups: tuple[Group, ...]
    left_out: Mapping[str, int]
    disparities: Mapping[str, Disparity]

    @property
    def metrics(self) -> dict[str, float]:
        """The disparities as an evaluation names them."""
        return {f"fairness.{name}.{self.column}": d.value for name, d in self.disparities.items()}

    @property
    def standard_errors(self) -> dict[str, float]:
        """Of `metrics`."""
        found = self.disparities.items()
        return {f"fairness.{name}.{self.column}": each.standard_error for name, each in found}

    def of_group(self, value: str) -> Mapping[str, Estimate]:
        """The estimates of one group; empty where it is none."""
        return next((group.estimates for group in self.groups if group.value == value), {})


def compare_groups(
    asked: Fairness | None, decided: Decisions, columns: Mapping[str, Strings], seed: int
) -> tuple[ColumnFairness, ...]:
    """What `asked` wants to know of some decisions; nothing where it is None. Deterministic.

    Args:
        asked: Names some of `columns`.
        decided: The decisions.
        columns: Slice columns, object [rows] each.
        seed: Of the resamples.
    """
    if asked is None:
        return ()
    return tuple(
        _compared(column, asked.min_group_rows, decided, columns[column], (seed, place))
        for place, column in enumerate(asked.columns)
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A group with its resamples: float64 [resamples] for each estimate."""

    group: Group
    resampled: Mapping[str, Floats]


def _compared(
    column: str, min_rows: int, decided: Decisions, cells: Strings, seed: Sequence[int]
) -> ColumnFairness:
    random = np.random.default_rng(seed)
    drawn: list[_Drawn] = []
    left_out: dict[str, int] = {}
    for value in sorted(set(cells.tolist())):
        rows = np.flatnonzero(cells == value)
        if len(rows) < min_rows:
            left_out[value] = len(rows)
        else:
            drawn.append(_resampled(value, decided, rows, random))
    return ColumnFairness(
        column, tuple(each.group for each in drawn), left_out, _disparities(drawn, random)
    )


def _resampled(
    value: str, decided: Decisions, rows: npt.NDArray[np.int64], random: np.random.Generator
) -> _Drawn:
    """A group, bootstrapped by cells: rows of one label, decision and bin of probability."""
    label = decided.label[rows].astype(np.int64)
    probability = decided.probability[rows].astype(np.float64)
    told = (probability >= decided.threshold).astype(np.int64)
    cell = (2 * label + told) * _BINS + np.clip((probability * _BINS).astype(int), 0, _BINS - 1)
    counts = np.bincount(cell, minlength=4 * _BINS)
    excess = np.bincount(cell, probability - label, 4 * _BINS) / np.maximum(counts, 1)
    drawn = random.multinomial(len(rows), counts / len(rows), size=RESAMPLES)
    shares = _shares(drawn)
    resampled: dict[str, Floats] = {}
    estimates: dict[str, Estimate] = {}
    for name, (hits, cases) in _shares(counts[None, :]).items():
        if cases[0] < FEWEST_CASES:
            continue
        estimates[name] = _wilson(int(hits[0]), int(cases[0]))
        # A resample may hold no case at all: it then says nothing new.
        point = np.full(RESAMPLES, estimates[name].value)
        np.divide(*shares[name], out=point, where=shares[name][1] > 0)
        resampled[name] = point
    resampled[BIAS] = drawn @ excess / len(rows)
    low, high = np.quantile(resampled[BIAS], _TAILS)
    estimates[BIAS] = Estimate(
        value=float(np.mean(probability - label)),
        low=float(low),
        high=float(high),
        standard_error=float(high - low) / (2 * _Z),
        cases=len(rows),
    )
    return _Drawn(Group(value, len(rows), estimates), resampled)


def _shares(counts: npt.NDArray[np.int64]) -> dict[str, tuple[Floats, Floats]]:
    """Hits and cases of each rate, float64 [draws] each, from counts by cell."""
    by = counts.reshape(len(counts), 2, 2, _BINS).sum(axis=3).astype(np.float64)
    told, right = by[:, :, 1].sum(axis=1), by.sum(axis=2)
    return {
        "selection_rate": (told, right.sum(axis=1)),
        "true_positive_rate": (by[:, 1, 1], right[:, 1]),
        "false_positive_rate": (by[:, 0, 1], right[:, 0]),
        "precision": (by[:, 1, 1], told),
    }


def _wilson(hits: int, cases: int) -> Estimate:
    """A share with its score interval (Wilson, JASA 22, 1927), which holds at 0 and at 1 too."""
    share, square = hits / cases, _Z**2
    middle = (share + square / (2 * cases)) / (1 + square / cases)
    spread = math.sqrt(share * (1 - share) / cases + square / (4 * cases**2))
    half = _Z * spread / (1 + square / cases)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(share, min(low, share), max(high, share), half / _Z, cases)


def _disparities(drawn: Sequence[_Drawn], random: np.random.Generator) -> dict[str, Disparity]:
    found = {}
    for name, rates in DISPARITIES.items():
        parts = [part for rate in rates if (part := _apart(name, rate, drawn, random)) is not None]
        if len(parts) < len(rates):
            continue
        resampled, by_chance = (
            np.maximum.reduce([getattr(part, which) for part in parts])
            for which in ("resampled", "by_chance")
        )
        worst = max(parts, key=lambda part: part.value)
        low, high = np.quantile(resampled, _TAILS)
        found[name] = Disparity(
            value=worst.value,
            low=float(low),
            high=float(high),
            standard_error=float(resampled.std(ddof=1)),
            by_chance=float(np.quantile(by_chance, 0.05 if name.endswith("ratio") else 0.95)),
            lowest=worst.lowest,
            highest=worst.highest,
        )
    return found


@dataclass(frozen=True, eq=False)
class _Apart:
    """How far groups are apart by one rate; `resampled`, `by_chance`: float64 [resamples]."""

    value: float
    resampled: Floats
    by_chance: Floats
    lowest: str
    highest: str


def _apart(
    name: str, rate: str, drawn: Sequence[_Drawn], random: np.random.Generator
) -> _Apart | None:
    """None where fewer than two groups have the rate, or a ratio has nothing to be of."""
    having = [each for each in drawn if rate in each.group.estimates]
    if len(having) < 2:
        return None
    estimates = [each.group.estimates[rate] for each in having]
    values = np.array([each.value for each in estimates])
    of = _ratio if name.endswith("ratio") else _difference
    if of is _ratio and not values.max():
        return None
    return _Apart(
        value=float(of(values[:, None])[0]),
        resampled=of(np.array([each.resampled[rate] for each in having])),
        by_chance=of(_alike(rate, estimates, random)),
        lowest=having[int(values.argmin())].group.value,
        highest=having[int(values.argmax())].group.value,
    )


def _alike(rate: str, estimates: Sequence[Estimate], random: np.random.Generator) -> Floats:
    """float64 [groups, resamples]: what groups of these sizes show where they are all alike."""
    cases = np.array([each.cases for each in estimates])[:, None]
    values = np.array([each.value for each in estimates])[:, None]
    common = float((values * cases).sum() / cases.sum())
    size = (len(estimates), RESAMPLES)
    if rate == BIAS:
        errors = np.array([each.standard_error for each in estimates])[:, None]
        return np.asarray(common + errors * random.standard_normal(size))
    return np.asarray(random.binomial(cases, min(max(common, 0.0), 1.0), size) / cases)


def _difference(rates: Floats) -> Floats:
    """float64 [draws]: the largest less the smallest of float64 [groups, draws]."""
    return np.asarray(rates.max(axis=0) - rates.min(axis=0))


def _ratio(rates: Floats) -> Floats:
    """float64 [draws]: the smallest over the largest; 1 where both are 0."""
    largest = rates.max(axis=0)
    ratio: Floats = np.divide(
        rates.min(axis=0), largest, out=np.ones(len(largest)), where=largest > 0
    )
    return ratio
