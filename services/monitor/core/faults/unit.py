"""Numbers that come in another unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from services.common.profiles import Profile
from services.common.sketches import BinKind, Counts, Sketch, coarse_counts
from services.monitor.core.alarms import chances_alone
from services.monitor.core.detectors.numeric import NumericDrift
from services.monitor.core.detectors.port import Sight
from services.monitor.core.histograms import (
    Floats,
    jensen_shannon_distance,
    jensen_shannon_distances,
)
from services.monitor.core.resources import DataFault, FaultKind
from services.monitor.core.stream.samples import WindowSample

_FAR: Final = 0.3
"""Distance below which nothing is converted: what is not far needs no other unit."""

_NEAR: Final = 0.25
"""Distance that is near enough once converted: about how far a week goes by itself."""

_NEARER: Final = 3.0
"""How many times nearer a conversion has to bring it."""

_FEWEST_VALUES: Final = 100

_ROUNDING: Final = 1e-9
"""By which a distance of many columns at once may differ from that of one."""

_FALSE_SHARE: Final = 0.005
"""Share of windows in which any column may come as far by itself: a tenth of the default budget."""


@dataclass(frozen=True, slots=True)
class _Conversion:
    words: str
    factor: float
    offset: float = 0.0


_FACTORS: Final = {
    "thousandths": 1000.0,
    "hundredths": 100.0,
    "tenths": 10.0,
    "millionths": 1e6,
    "seconds instead of minutes": 60.0,
    "seconds instead of hours": 3600.0,
    "hours instead of days": 24.0,
    "km/h instead of m/s": 3.6,
    "kilometres instead of miles": 1.609344,
    "feet instead of metres": 1 / 0.3048,
    "centimetres instead of inches": 2.54,
    "pounds instead of kilograms": 1 / 0.45359237,
    "knots instead of m/s": 1 / 0.514444,
    "degrees instead of radians": 180 / np.pi,
}
"""How many of the new unit make one of the old."""

CONVERSIONS: Final = (
    *(_Conversion(words, factor) for words, factor in _FACTORS.items()),
    *(_Conversion(f"the inverse of {words}", 1 / factor) for words, factor in _FACTORS.items()),
    _Conversion("Fahrenheit instead of Celsius", 1.8, 32.0),
    _Conversion("Celsius instead of Fahrenheit", 1 / 1.8, -32.0 / 1.8),
    _Conversion("Kelvin instead of Celsius", 1.0, 273.15),
    _Conversion("Celsius instead of Kelvin", 1.0, -273.15),
    _Conversion("the other sign", -1.0),
)


def changed_units(sight: Sight) -> Iterator[DataFault]:
    """Numbers that are far from training as they are, and near once a unit is converted back.

    Farther than they go by themselves: a column around 0 that wanders lies near where training
    was if it is read with the other sign.
    """
    suspects = list(_suspects(sight))
    if not suspects:
        return
    chances = chances_alone(list(NumericDrift().measure(sight)))
    for fault in suspects:
        if chances[fault.feature] * len(chances) <= _FALSE_SHARE:
            yield fault


def _suspects(sight: Sight) -> Iterator[DataFault]:
    names = sight.sample.names
    groups = sight.of_baseline(("unit_change", names), lambda: _Groups.of(sight.baseline, names))
    for place in np.flatnonzero(groups.distances(sight.sample) >= _FAR - _ROUNDING).tolist():
        feature = names[place]
        column = sight.baseline.features[feature]
        sketch, coarse = column.sketch, column.groups
        values = sight.sample.values[:, place]
        values = values[np.isfinite(values)]
        if sketch.bins.kind is not BinKind.NUMERIC or values.size < _FEWEST_VALUES:
            continue
        as_is = _distance(sketch, coarse, values)
        if as_is < _FAR:
            continue
        converted = [
            _distance(sketch, coarse, (values - each.offset) / each.factor) for each in CONVERSIONS
        ]
        best = int(np.argmin(converted))
        if converted[best] <= min(_NEAR, as_is / _NEARER):
            unit = CONVERSIONS[best]
            yield DataFault(
                kind=FaultKind.UNIT_CHANGE,
                feature=feature,
                reason=f"{feature} lies {as_is:.2f} from training, but {converted[best]:.2f} "
                f"when read as {unit.words}.",
                numbers={
                    "distance": as_is,
                    "converted_distance": converted[best],
                    "factor": unit.factor,
                    "offset": unit.offset,
                },
            )


@dataclass(frozen=True, slots=True)
class _Groups:
    """The coarse groups of the sampled columns, missing values left out.

    Attributes:
        group_of: int64 [columns, bins], of each bin; one past the last group for missing ones.
        before: int64 [columns, groups], the baseline's counts.
    """

    group_of: Counts
    before: Counts

    @classmethod
    def of(cls, baseline: Profile, names: Sequence[str]) -> Self:
        """Of the features of these names."""
        columns = [baseline.features[name] for name in names]
        bins = max((column.groups.size for column in columns), default=0)
        groups = max((int(column.groups.max()) for column in columns), default=0)
        group_of = np.full((len(columns), bins), groups)
        before = np.zeros((len(columns), groups), np.int64)
        for place, column in enumerate(columns):
            group_of[place, : column.groups.size - 1] = column.groups[:-1]
            counts = coarse_counts(column.groups, column.sketch.counts)[:-1]
            before[place, : counts.size] = counts
        return cls(group_of, before)

    def distances(self, sample: WindowSample) -> Floats:
        """float64 [columns]: how far the finite numbers lie from training."""
        columns, groups = self.before.shape
        if not columns:
            return np.zeros(0)
        place = np.arange(columns)
        group = self.group_of[place, sample.codes] + place * (groups + 1)
        size = columns * (groups + 1)
        now = np.bincount(group[np.isfinite(sample.values)], minlength=size)
        return jensen_shannon_distances(self.before, now.reshape(columns, groups + 1)[:, :-1])


def _distance(sketch: Sketch, coarse: Counts, values: np.ndarray) -> float:
    before = coarse_counts(coarse, sketch.counts)[:-1]
    now = coarse_counts(coarse, sketch.bins.counts(values))[:-1]
    return jensen_shannon_distance(before, now)
