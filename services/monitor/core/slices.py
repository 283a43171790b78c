"""How well predictions turned out slice by slice, and which slices are worse than chance allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.monitor.core.quality import Z_95, quality
from services.monitor.core.resources import PerformanceReport, SliceQuality
from services.monitor.core.stream.tallies import Tally

COMPARED: Final = {"auc": 1.0, "log_loss": -1.0}
"""Metrics by which slices are compared: those with an interval; the sign says which way is up."""

_ALPHA: Final = 0.05


def slice_qualities(tallies: Sequence[Tally]) -> tuple[SliceQuality, ...]:
    """What the predictions of one window scored in each slice, all these versions together."""
    parts: dict[tuple[str, str], list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]] = {}
    for tally in tallies:
        for key, mask in tally.slices.masks():
            parts.setdefault(key, []).append((tally.labels[mask], tally.scores[mask]))
    found = []
    for (feature, value), rows in parts.items():
        labels, scores = (np.concatenate(column) for column in zip(*rows, strict=True))
        measured = quality(labels, scores)
        found.append(
            SliceQuality(
                feature=feature,
                value=value,
                predictions=measured.predictions,
                outcomes=measured.outcomes,
                metrics=measured.metrics,
                auc_half_width=measured.half_widths.get("auc", 0.0),
                log_loss_half_width=measured.half_widths.get("log_loss", 0.0),
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SliceStanding:
    """A slice beside all rows of its window.

    Attributes:
        slice: Which, with its scores.
        worse_by: How much worse it is by the metric; below 0 when better.
        half_width: Of the interval of `worse_by` that holds for all slices together with a chance
            of 95 % at least (Bonferroni). The slice is a part of all rows, so it is rather too
            wide.
    """

    slice: SliceQuality
    worse_by: float
    half_width: float

    @property
    def is_worse(self) -> bool:
        """Whether chance does not explain it."""
        return self.worse_by > self.half_width


def standings(report: PerformanceReport, metric: str) -> Sequence[SliceStanding]:
    """The report's slices by a metric of `COMPARED`, the one that is most surely worse first.

    Slices with too few outcomes for an interval are left out.
    """
    whole, whole_half = report.metrics.get(metric), _half_width(report, metric)
    measured = [
        each for each in report.slices if metric in each.metrics and _half_width(each, metric) > 0
    ]
    if whole is None or not measured:
        return []
    widening = NormalDist().inv_cdf(1 - _ALPHA / 2 / len(measured)) / Z_95
    found = [
        SliceStanding(
            each,
            COMPARED[metric] * (whole - each.metrics[metric]),
            widening * hypot(whole_half, _half_width(each, metric)),
        )
        for each in measured
    ]
    return sorted(found, key=lambda each: each.half_width - each.worse_by)


def _half_width(of: PerformanceReport | SliceQuality, metric: str) -> float:
    return {"auc": of.auc_half_width, "log_loss": of.log_loss_half_width}[metric]
