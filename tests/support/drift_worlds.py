"""Simulated traffic of a model: quiet, or changed in one known way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    ScoredSample,
    feature_profiles,
    reliability_of,
)
from services.common.sketches import FrozenBins
from services.common.sliced_profiles import slice_sketches
from services.monitor.core.detectors.port import Sight
from services.monitor.core.stream.samples import WindowSample
from services.monitor.core.stream.slicing import SliceTally
from services.monitor.core.wander import Span

DAY_US: Final = 86_400_000_000
WEEK_DAYS: Final = 7
TRAINING_WEEKS: Final = 8
HELD_OUT_WEEKS: Final = 3
_WEIGHTS: Final = (0.9, -0.7, 0.5, 0.5, -0.4)
_INTERCEPT: Final = -1.0
_PAIRED: Final = 0.8
_PAIRS: Final = 5
_CATEGORIES: Final = ("EWR", "JFK", "LGA", "BOS", "PHL")
_SHARES: Final = (0.35, 0.3, 0.2, 0.1, 0.05)

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nature:
    """How a world behaves without any change.

    Attributes:
        memory: Correlation of a day's level with the day before.
        step: Standard deviation of a day's surprise, in deviations of the rows of one day.
        season: Amplitude of the week's pattern, in the same unit.
    """

    memory: float = 0.0
    step: float = 0.0
    season: float = 0.0


INDEPENDENT: Final = Nature()
SEASONAL: Final = Nature(memory=0.8, step=0.15, season=0.3)


@dataclass(frozen=True, slots=True)
class Change:
    """What is different, in full strength.

    Attributes:
        shift: Of the means of `shifted` columns, in deviations.
        shifted: How many columns.
        only_in: Category whose rows alone are shifted; empty: all are.
        category: Share of rows whose category becomes the rarest one.
        decoupled: Whether columns that went together, in pairs, do so no longer.
        odds: Factor on the odds of outcome 1, all rows of either outcome as before.
        concept: What is added to the logit of outcome 1 while nothing else changes.
        rewired: Whether scores weigh five other columns, outcomes those that they always did.
    """

    shift: float = 0.0
    shifted: int = 5
    only_in: str = ""
    category: float = 0.0
    decoupled: bool = False
    odds: float = 1.0
    concept: float = 0.0
    rewired: bool = False

    def scaled(self, strength: float) -> Change:
        """The change on its way in, from 0 to 1."""
        return Change(
            shift=self.shift * strength,
            shifted=self.shifted,
            only_in=self.only_in,
            category=self.category * strength,
            decoupled=self.decoupled and strength > 0,
            odds=1 + (self.odds - 1) * strength,
            concept=self.concept * strength,
            rewired=self.rewired and strength > 0,
        )


QUIET: Final = Change()


@dataclass(frozen=True)
class Days:
    """Rows of whole days: numbers [rows, columns], a category, scores, outcomes, times."""

    numbers: Rows
    category: npt.NDArray[np.str_]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]
    time_us: npt.NDArray[np.int64]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The features by name."""
        named = {f"n{place:03}": self.numbers[:, place] for place in range(self.numbers.shape[1])}
        return {**named, "category": self.category}


class DriftWorld:
    """Draws a model's traffic; the model knows the true odds of each row.

    Columns 5 to 14 go together in pairs (correlation .8). The first five decide the outcome.

    Args:
        seed: Of everything.
        columns: Features, the category among them; 16 or more.
        nature: How it behaves without any change.
        rows_per_day: Of every day.
        sliced: Whether profiles are sliced by the category.
    """

    def __init__(
        self,
        seed: int,
        *,
        columns: int = 50,
        nature: Nature = SEASONAL,
        rows_per_day: int = 300,
        sliced: bool = False,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._nature = nature
        self._columns = columns - 1
        self._rows = rows_per_day
        self._sliced = sliced
        spread = nature.step / np.sqrt(1 - nature.memory**2)
        self._level = self._random.normal(size=self._columns) * spread
        self._day = 4

    def days(self, count: int, change: Change = QUIET) -> Days:
        """The next days."""
        parts = [self._one_day(change) for _ in range(count)]
        return Days(*(np.concatenate([getattr(part, name) for part in parts]) for name in _PARTS))

    def profile(self) -> Profile:
        """What the model is trained on and tried on: eight weeks and the three after them."""
        fitted = self.days(TRAINING_WEEKS * WEEK_DAYS)
        held_out = self.days(HELD_OUT_WEEKS * WEEK_DAYS)
        features = feature_profiles(
            fitted.columns, categorical={"category"}, time_us=fitted.time_us
        )
        score = ColumnProfile.of(
            FrozenBins.numeric(held_out.scores), held_out.scores, held_out.time_us
        )
        return Profile(
            features=features,
            score=score,
            label=ColumnProfile.of(FrozenBins.numeric([0, 1]), fitted.labels, fitted.time_us),
            n=len(fitted.labels),
            sample=RowSample.of(fitted.columns, features, fitted.time_us),
            reliability=reliability_of(score, held_out.scores, held_out.labels, held_out.time_us),
            slices=slice_sketches(
                features,
                fitted.columns,
                {"category": fitted.category} if self._sliced else {},
                score=score,
                scores=held_out.scores,
                scores_sliced_by={"category": held_out.category},
            ),
            held_out=ScoredSample.of(held_out.columns, features, held_out.scores, held_out.time_us),
        )

    def _one_day(self, change: Change) -> Days:
        nature, random = self._nature, self._random
        surprise = random.normal(size=self._columns) * nature.step
        self._level = nature.memory * self._level + surprise
        weekly = nature.season * np.sin(2 * np.pi * self._day / WEEK_DAYS)
        n = self._rows if change.odds == 1 else 4 * self._rows
        numbers = random.normal(size=(n, self._columns))
        if not change.decoupled:
            first = numbers[:, 5 : 5 + 2 * _PAIRS : 2]
            second = numbers[:, 6 : 6 + 2 * _PAIRS : 2]
            numbers[:, 6 : 6 + 2 * _PAIRS : 2] = _PAIRED * first + np.sqrt(1 - _PAIRED**2) * second
        numbers += self._level + weekly
        category = random.choice(_CATEGORIES, n, p=_SHARES)
        category[random.random(n) < change.category] = _CATEGORIES[-1]
        hit = np.isin(category, [change.only_in] if change.only_in else _CATEGORIES)
        numbers[hit, : change.shifted] += change.shift
        logit = _INTERCEPT + numbers[:, : len(_WEIGHTS)] @ np.array(_WEIGHTS)
        # The first of each pair: they are independent, as those that decide are.
        other = _INTERCEPT + numbers[:, 5 : 5 + 2 * _PAIRS : 2] @ np.array(_WEIGHTS)
        scores = 1 / (1 + np.exp(-(other if change.rewired else logit)))
        truth = 1 / (1 + np.exp(-logit - change.concept))
        labels = (random.random(n) < truth).astype(np.int8)
        if change.odds != 1:
            weights = np.where(labels == 1, change.odds, 1.0)
            kept = random.choice(n, self._rows, replace=False, p=weights / weights.sum())
        else:
            kept = np.arange(n)
        times = self._day * DAY_US + np.sort(random.integers(0, DAY_US, kept.size))
        self._day += 1
        return Days(
            numbers[kept], category[kept], scores[kept].astype(np.float32), labels[kept], times
        )


_PARTS: Final = ("numbers", "category", "scores", "labels", "time_us")


def sight_of_days(profile: Profile, days: Days, seed: int = 0) -> Sight:
    """What the monitor sees of these days, all outcomes known."""
    columns = days.columns
    sketches = {name: column.sketch.bins for name, column in profile.features.items()}
    rows = days.labels.size
    kept = np.random.default_rng(seed).permutation(rows)[:1000]
    codes = np.stack([sketches[name].indices(values[kept]) for name, values in columns.items()], 1)
    values = np.full(codes.shape, np.nan)
    values[:, :-1] = days.numbers[kept]
    first_day = int(days.time_us[0] // DAY_US)
    slices = SliceTally(profile, tuple(profile.slices))
    slices.observe({"f_category": pa.chunked_array([days.category])}, columns, days.scores)
    return Sight(
        baseline=profile,
        features={name: sketches[name].counts(values) for name, values in columns.items()},
        score=profile.score.sketch.bins.counts(days.scores),
        scores=days.scores,
        labels=days.labels,
        event_us=days.time_us,
        span=Span(first_day, int(days.time_us[-1] // DAY_US) - first_day + 1),
        sample=WindowSample(
            tuple(columns), codes, values, days.time_us[kept] // DAY_US, days.scores[kept]
        ),
        unreadable=dict.fromkeys(columns, 0),
        slices=slices.sketches,
    )


def strengths(kind: str, weeks: int) -> Sequence[float]:
    """How strong a change is in each week: `sudden`, `gradual` (four weeks) or `recurring`."""
    match kind:
        case "sudden":
            return [1.0] * weeks
        case "gradual":
            return [min(1.0, (week + 1) / 4) for week in range(weeks)]
        case "recurring":
            return [1.0 if week // 3 % 2 == 0 else 0.0 for week in range(weeks)]
        case _:
            raise ValueError(f"{kind!r} is none of sudden, gradual, recurring")
