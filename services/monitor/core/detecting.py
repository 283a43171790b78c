"""Everything that one window shows against its baseline, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.common.sketches import BLOCK_S
from services.monitor.core.alarms import judged_points
from services.monitor.core.attribution import attribution_drift
from services.monitor.core.concept import concept_state
from services.monitor.core.detectors.port import Sight
from services.monitor.core.detectors.registry import DETECTORS
from services.monitor.core.estimating import estimated_quality
from services.monitor.core.faults.registry import FAULTS
from services.monitor.core.naming import Change, named_change
from services.monitor.core.resources import (
    AttributionDrift,
    ConceptState,
    DataFault,
    DriftPoint,
    DriftReport,
    DriftTest,
    QualityEstimate,
    SliceDrift,
)
from services.monitor.core.slice_drift import slice_drift
from services.monitor.core.stream.tallies import Tally
from services.monitor.core.wander import Span


@dataclass(frozen=True, slots=True)
class Findings:
    """What one window shows; see `DriftReport` in monitor.proto."""

    points: tuple[DriftPoint, ...]
    faults: tuple[DataFault, ...]
    concept: ConceptState | None
    change: Change
    estimate: QualityEstimate | None
    slices: SliceDrift | None
    attributions: AttributionDrift | None


def sight_of(tally: Tally, length: timedelta) -> Sight | None:
    """What one version saw in a window; None if its baseline is not known.

    Args:
        tally: Its predictions.
        length: Of the window; what was served may be a part of it.
    """
    if tally.profile is None or tally.score is None or tally.by_slice is None:
        return None
    served = min(tally.span, length)
    first_day = tally.begins_us // (BLOCK_S * 1_000_000)
    return Sight(
        baseline=tally.profile,
        features={name: sketch.counts for name, sketch in tally.features.items()},
        score=tally.score.counts,
        scores=tally.scores,
        labels=tally.labels,
        event_us=tally.event_us,
        span=Span(first_day, max(1, -(-served // timedelta(seconds=BLOCK_S)))),
        sample=tally.sampler.sample(),
        unreadable=tally.unreadable,
        slices=tally.by_slice.sketches,
        unsliced=tally.by_slice.unsliced,
    )


def findings(
    sight: Sight, earlier: Sequence[DriftReport], test: DriftTest, *, from_first: bool = False
) -> Findings:
    """What the window shows.

    Args:
        sight: The window.
        earlier: Reports on the windows before, against the same baseline, newest first.
        test: What counts as an alarm.
        from_first: Whether `earlier` are all windows since the version first served.
    """
    faults = tuple(fault for find in FAULTS for fault in find(sight))
    points = judged_points(
        [each for detector in DETECTORS for each in detector.measure(sight)],
        [{(point.algorithm, point.feature): point for point in each.points} for each in earlier],
        test=test,
        faulty={fault.feature for fault in faults},
        from_first=from_first,
    )
    concept = concept_state(sight, earlier[0].concept if earlier else None, test)
    change = named_change(points, concept, faults, sight)
    return Findings(
        points,
        faults,
        concept,
        change,
        estimated_quality(sight, points, change.kind),
        slice_drift(sight, points, earlier, test),
        attribution_drift(sight, earlier, test),
    )
