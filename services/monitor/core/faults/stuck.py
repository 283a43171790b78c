"""Sensors that say one thing, and features that nothing refreshes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from services.common.sketches import BinKind
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import DataFault, FaultKind

_FEWEST_VALUES: Final = 100
_STUCK_SHARE: Final = 0.9
_USUAL_SHARE: Final = 0.5
_STALE_SHARE: Final = 0.1
_VARIED_VALUES: Final = 50


def stuck_sensors(sight: Sight) -> Iterator[DataFault]:
    """Numbers of which nine in ten are one value, where in training no bin held half of them."""
    for feature, values, usual, _ in _numbers(sight):
        _, times = np.unique(values, return_counts=True)
        share = float(times.max() / values.size)
        if share >= _STUCK_SHARE and usual <= _USUAL_SHARE:
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
    for feature, values, usual, varied in _numbers(sight):
        unique, times = np.unique(values, return_counts=True)
        is_stuck = times.max() >= _STUCK_SHARE * values.size and usual <= _USUAL_SHARE
        if varied >= _VARIED_VALUES and unique.size <= _STALE_SHARE * varied and not is_stuck:
            yield DataFault(
                kind=FaultKind.STALE_FEATURE,
                feature=feature,
                reason=f"{feature} takes {unique.size} values in {values.size} rows; as many "
                f"training rows take {varied} and more.",
                numbers={"values": float(unique.size), "usual_values": float(varied)},
            )


def _numbers(sight: Sight) -> Iterator[tuple[str, np.ndarray, float, int]]:
    """By numeric feature: its numbers, the usual share of one bin, and how many bins are usual."""
    sample = sight.baseline.sample
    for place, feature in enumerate(sight.sample.names):
        sketch = sight.baseline.features[feature].sketch
        values = sight.sample.values[:, place]
        values = values[np.isfinite(values)]
        if sketch.bins.kind is not BinKind.NUMERIC or values.size < _FEWEST_VALUES:
            continue
        usual = float(sketch.counts[:-1].max() / max(int(sketch.counts[:-1].sum()), 1))
        varied = 0
        if sample is not None and feature in sample.names:
            codes = sample.codes[: values.size, sample.names.index(feature)]
            varied = int(np.unique(codes).size)
        yield feature, values, usual, varied
