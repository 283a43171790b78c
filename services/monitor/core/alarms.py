"""Which of a window's effects are alarms, within a declared share of false ones, and why.

An effect is an alarm when all of this holds: it is at least the floor, in this window and in
enough of the last ones; there are enough rows; chance among independent rows does not explain
it; and lasting effects of this size, in units of how far the subject goes by itself, are rare
enough without drift that all alarms together stay within the budget (Benjamini-Hochberg over
everything that was measured; without any drift its rate is that of any false alarm at all).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.monitor.core.detectors.port import ROWS, Measurement
from services.monitor.core.moderation import Prior
from services.monitor.core.resources import DriftPoint, DriftTest
from services.monitor.core.wander import (
    FEWEST_STRETCHES,
    LastingNull,
    bounded,
    lasting_null,
    pooled_memory,
    unbounded,
)

EFFECTS_SHARE: Final = 0.5
"""Of the budget of false alarms; the rest is that of the outcomes' meaning (`concept`)."""

Earlier: TypeAlias = Mapping[tuple[str, str], DriftPoint]
"""One window's points by algorithm and feature."""


def benjamini_hochberg(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64 [n]: the smallest false discovery rate at which each test is a finding.

    Benjamini and Hochberg, 1995; never below the p-value and never above 1.
    """
    n = p_values.size
    order = np.argsort(p_values)
    scaled = p_values[order] * n / np.arange(1, n + 1)
    q_values = np.empty(n)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values


def judged_points(
    measured: Sequence[Measurement],
    earlier: Sequence[Earlier],
    *,
    test: DriftTest,
    faulty: Collection[str] = (),
) -> tuple[DriftPoint, ...]:
    """One point per measurement, in their order.

    Args:
        measured: Everything in the window.
        earlier: The windows before, newest first.
        test: What counts as an alarm.
        faulty: Features whose values are broken: what they show is no drift.
    """
    memory = pooled_memory([each.memory for each in measured])
    priors = _priors(measured)
    recent = earlier[: test.persistence_windows - 1]
    judgements = [
        _Judgement.of(each, recent, test, memory, priors.get(each.detector, Prior()))
        for each in measured
    ]
    q_values = benjamini_hochberg(np.array([each.p_value for each in judgements])).tolist()
    lasting = benjamini_hochberg(np.array([each.lasting_p for each in judgements])).tolist()
    share = test.false_alarm_budget * EFFECTS_SHARE
    points = []
    for judgement, q_value, lasting_q in zip(judgements, q_values, lasting, strict=True):
        each = judgement.measurement
        threshold = judgement.threshold(share / len(judgements))
        reasons = judgement.objections(faulty)
        significant = not reasons and q_value <= test.false_discovery_rate
        reasons += judgement.objections_to_lasting(lasting_q, share, threshold)
        points.append(
            DriftPoint(
                feature=each.subject,
                statistic=each.statistic,
                effect_size=each.effect,
                p_value=judgement.p_value,
                q_value=q_value,
                baseline_rows=each.baseline_rows,
                window_rows=each.window_rows,
                threshold=threshold,
                algorithm=each.detector,
                significant=significant,
                drifted=not reasons,
                bins=each.bins,
                excess=judgement.excess,
                lasting_q_value=lasting_q,
                reason=_sentence(judgement, reasons, lasting_q, share),
            )
        )
    return tuple(points)


def _own_square(each: Measurement) -> float:
    return float(np.mean(unbounded(each.own) ** 2))


def _priors(measured: Sequence[Measurement]) -> dict[str, Prior]:
    """What the columns of each detector say of one another."""
    known: dict[str, list[Measurement]] = defaultdict(list)
    for each in measured:
        if each.own.size >= FEWEST_STRETCHES and each.own.any():
            known[each.detector].append(each)
    return {
        detector: Prior.of(
            np.array([_own_square(each) for each in found]), min(each.own.size for each in found)
        )
        for detector, found in known.items()
    }


@dataclass(frozen=True, slots=True)
class _Judgement:
    """One measurement with what it is worth alone.

    Attributes:
        own_scale: Root mean square of what the baseline shows by itself; 0 if unknown.
        excess: The effect in units of `own_scale`; 0 if that is unknown.
        hits: Windows, this one included, whose effect reaches the floor.
        lasting: The null of lasting effects; None if the baseline has too few stretches.
    """

    measurement: Measurement
    test: DriftTest
    own_scale: float
    excess: float
    hits: int
    p_value: float
    lasting_p: float
    lasting: LastingNull | None

    @classmethod
    def of(
        cls,
        each: Measurement,
        recent: Sequence[Earlier],
        test: DriftTest,
        memory: float,
        prior: Prior,
    ) -> _Judgement:
        key = each.detector, each.subject
        past = [window[key] for window in recent if key in window]
        hits = sum(point.effect_size >= test.effect_floor for point in past)
        hits += each.effect >= test.effect_floor
        stretches = each.own.size
        if stretches < FEWEST_STRETCHES:
            found = sum(point.significant for point in past) + 1
            lasting_p = each.p_chance if found >= test.persistence_hits else 1.0
            return cls(each, test, 0.0, 0.0, hits, each.p_chance, lasting_p, None)
        square = _own_square(each)
        if square > 0:
            square = prior.moderated(square, stretches)
        else:
            prior = Prior()
        scale = float(np.sqrt(square + each.noise)) or 1e-9
        excess = float(unbounded(np.array([each.effect]))[0]) / scale
        alone = lasting_null(stretches, memory, prior.freedom, 1, 1)
        together = lasting_null(
            stretches, memory, prior.freedom, test.persistence_hits, test.persistence_windows
        )
        # Past windows were judged with another memory, but in the same units.
        excesses = sorted([excess, *(point.excess for point in past)], reverse=True)
        lasting = excesses[test.persistence_hits - 1] if hits >= test.persistence_hits else 0.0
        return cls(
            each,
            test,
            scale,
            excess,
            hits,
            max(each.p_chance, alone.p_value(excess)),
            max(each.p_chance, together.p_value(lasting)),
            together,
        )

    def threshold(self, p_value: float) -> float:
        """Effect from which on a lasting one has at most this p-value and reaches the floor."""
        if self.lasting is None:
            return self.test.effect_floor
        needed = bounded(self.lasting.excess_at(p_value) * self.own_scale)
        return max(self.test.effect_floor, needed)

    def objections(self, faulty: Collection[str]) -> list[str]:
        """Why this window shows nothing, whatever its p-value."""
        each, test = self.measurement, self.test
        reasons = []
        if each.subject in faulty:
            reasons.append("its values are broken, which is no drift")
        # Whole rows are a sample: the window as a whole has enough.
        if each.window_rows < test.min_rows and each.subject != ROWS:
            reasons.append(f"{each.window_rows:,} rows are fewer than {test.min_rows:,}")
        if each.effect < test.effect_floor:
            reasons.append(f"the effect {each.effect:.3f} is below the floor {test.effect_floor:g}")
        return reasons

    def objections_to_lasting(self, q_value: float, share: float, threshold: float) -> list[str]:
        """Why the last windows together are no alarm."""
        test = self.test
        if self.hits < test.persistence_hits:
            windows = f"{self.hits} of the last {test.persistence_windows} windows"
            return [f"{windows} show it, {test.persistence_hits} are needed"]
        if q_value <= share:
            return []
        if self.lasting is None:
            return ["too few windows stand out from chance"]
        own = f"without drift it goes {self.own_scale:.3f} by itself"
        return [f"{own}, so only {threshold:.3f} would count (q {q_value:.2g}, {share:g} allowed)"]


def _sentence(judgement: _Judgement, reasons: list[str], q_value: float, share: float) -> str:
    if reasons:
        return f"No alarm: {'; '.join(reasons)}."
    effect = judgement.measurement.effect
    windows = f"{judgement.hits} of the last {judgement.test.persistence_windows} windows"
    if judgement.lasting is None:
        return (
            f"Alarm: effect {effect:.3f} in {windows} (q {q_value:.2g}); the baseline is too "
            f"short to say how far it goes by itself."
        )
    return (
        f"Alarm: effect {effect:.3f} is {judgement.excess:.1f} times how far it goes by itself, "
        f"in {windows} (q {q_value:.2g}, {share:g} allowed)."
    )
