"""Sensors that say one thing, and features that nothing refreshes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from services.common.sketches import Counts
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import DataFault, FaultKind

_FEWEST_VALUES: Final = 100
_STUCK_SHARE: Final = 0.9
_USUAL_SHARE: Final = 0.5
_STALE_SHARE: Final = 0.1
_VARIED_VALUES: Final = 50


def stuck_sensors(sight: Sight) -> Iterator[DataFault]:
    """Numbers of which nine in ten are one value, where in training no bin held half of them."""
    seen = _Seen.of(sight)
    for place in np.flatnonzero(seen.is_still & seen.suffices).tolist():
        feature = sight.sample.names[place]
        share, usual = float(seen.often[place] / seen.sizes[place]), _usual_share(sight, feature)
        if usual <= _USUAL_SHARE:
            yield DataFault(
                kind=FaultKind.STUCK_SENSOR,
                feature=feature,
                reason=f"{share:.0%} of {feature} is one value; in training no value had more "
                f"than {usual:.0%}.",
                numbers={"share": share, "usual_share": usual},
            )


def stale_features(sight: Sight) -> Iterator[DataFault]:
    """Numbers that take a tenth of the values that as many training rows take.

    A narrower distribution still has many values; one that is not refreshed has few.
    """
    seen = _Seen.of(sight)
    # As many training rows take at most as many values.
    few = seen.varied <= _STALE_SHARE * seen.sizes
    for place in np.flatnonzero(few & seen.suffices).tolist():
        feature = sight.sample.names[place]
        values, size = int(seen.varied[place]), int(seen.sizes[place])
        is_stuck = seen.is_still[place] and _usual_share(sight, feature) <= _USUAL_SHARE
        usual = _usually_varied(sight, feature, size)
        if usual >= _VARIED_VALUES and values <= _STALE_SHARE * usual and not is_stuck:
            yield DataFault(
                kind=FaultKind.STALE_FEATURE,
                feature=feature,
                reason=f"{feature} takes {values} values in {size} rows; as many "
                f"training rows take {usual} and more.",
                numbers={"values": float(values), "usual_values": float(usual)},
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The numbers in a window's sample, column by column.

    Attributes:
        sizes: int64 [columns], how many there are.
        often: int64 [columns], how many are the middle one: as many as are the most frequent
            one, if more than half are.
        varied: int64 [columns], how many different ones.
    """

    sizes: Counts
    often: Counts
    varied: Counts

    @classmethod
    def of(cls, sight: Sight) -> Self:
        """Of the window's sample."""
        numbers, sizes = sight.sample.ascending, sight.sample.finite
        if not numbers.size:
            return cls(sizes, np.zeros_like(sizes), np.zeros_like(sizes))
        middle = numbers[np.arange(sizes.size), sizes // 2]
        often = (numbers == middle[:, None]).sum(axis=1)
        rises = (numbers[:, 1:] > numbers[:, :-1]).sum(axis=1)
        return cls(sizes, often, rises + (sizes > 0))

    @property
    def suffices(self) -> npt.NDArray[np.bool_]:
        """bool [columns]: whether there are enough to tell."""
        return np.asarray(self.sizes >= _FEWEST_VALUES)

    @property
    def is_still(self) -> npt.NDArray[np.bool_]:
        """bool [columns]: whether nine in ten are one value."""
        return np.asarray(self.often >= _STUCK_SHARE * self.sizes)


def _usual_share(sight: Sight, feature: str) -> float:
    """Of the fullest bin in training."""
    counts = sight.baseline.features[feature].sketch.counts[:-1]
    return float(counts.max() / max(int(counts.sum()), 1))


def _usually_varied(sight: Sight, feature: str, rows: int) -> int:
    """How many bins as many training rows are in; 0 if that is not known."""
    sample = sight.baseline.sample
    if sample is None or feature not in sample.names:
        return 0
    return int(np.unique(sample.codes[:rows, sample.names.index(feature)]).size)
