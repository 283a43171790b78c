"""Which of a window's effects are alarms, within a declared share of false ones, and why.

An effect is an alarm when all of this holds: it is at least the floor, in this window and in
enough of the last ones; there are enough rows; chance among independent rows does not explain
it; and lasting effects of this size, in units of how far the subject goes by itself, are rare
enough without drift that all alarms together stay within the budget (Benjamini-Hochberg over
everything that was measured; without any drift its rate is that of any false alarm at all).

In a version's first windows nothing can have lasted yet. What the budget would spend on it is
spent on serving skew: what every window since the first shows, after a leap from training.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.monitor.core.detectors.port import LABEL, ROWS, Measurement
from services.monitor.core.detectors.registry import WEIGHTS
from services.monitor.core.memory import FEWEST_STRETCHES, pooled_memory
from services.monitor.core.moderation import Prior
from services.monitor.core.resources import DriftPoint, DriftTest
from services.monitor.core.wander import (
    LastingNull,
    Wander,
    bounded,
    lasting_null,
    mean_squares,
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


def weighted(
    p_values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """float64 [n]: `benjamini_hochberg` where tests have unequal shares of the budget.

    Genovese, Roeder and Wasserman, False discovery control with p-value weighting, Biometrika
    2006: the weights are laid down before any data are seen.

    Args:
        p_values: float64 [n].
        weights: float64 [n], of mean 1.
    """
    return benjamini_hochberg(p_values / weights)


def judged_points(
    measured: Sequence[Measurement],
    earlier: Sequence[Earlier],
    *,
    test: DriftTest,
    faulty: Collection[str] = (),
    from_first: bool = False,
) -> tuple[DriftPoint, ...]:
    """One point per measurement, in their order.

    Args:
        measured: Everything in the window.
        earlier: The windows before, newest first.
        test: What counts as an alarm.
        faulty: Features whose values are broken: what they show is no drift.
        from_first: Whether `earlier` are all windows since the version first served.
    """
    judgements = [
        _Judgement.of(each, _History.of(each, earlier, test, from_first), test, alone)
        for each, alone in zip(measured, _without_drift(measured), strict=True)
    ]
    q_values = benjamini_hochberg(np.array([each.p_value for each in judgements])).tolist()
    weights = np.array([WEIGHTS[each.detector] for each in measured])
    weights /= weights.mean()
    lasting = weighted(np.array([each.lasting_p for each in judgements]), weights).tolist()
    skews = weighted(np.array([each.skew_p for each in judgements]), weights).tolist()
    share = test.false_alarm_budget * EFFECTS_SHARE
    shares = (share / len(judgements) * weights).tolist()
    points = []
    for judgement, q_value, lasting_q, skew_q, own_share in zip(
        judgements, q_values, lasting, skews, shares, strict=True
    ):
        each = judgement.measurement
        threshold = judgement.threshold(own_share)
        reasons = judgement.objections(faulty)
        significant = not reasons and q_value <= test.false_discovery_rate
        since_first = not reasons and skew_q <= share
        reasons += judgement.objections_to_lasting(lasting_q, share, threshold)
        skewed = judgement.is_skew(drifted=not reasons, since_first=since_first)
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
                skewed=skewed,
                reason=_skew_sentence(judgement, min(skew_q, lasting_q), share)
                if skewed
                else _sentence(judgement, reasons, lasting_q, share),
            )
        )
    return tuple(points)


def chances_alone(measured: Sequence[Measurement]) -> dict[str, float]:
    """By subject: the chance of such an effect in one window without drift.

    Args:
        measured: By one detector.
    """
    none = _History(recent=(), windows=0, known_skew=False)
    return {
        each.subject: _Judgement.of(each, none, DriftTest(), alone).p_value
        for each, alone in zip(measured, _without_drift(measured), strict=True)
    }


@dataclass(frozen=True, slots=True)
class _WithoutDrift:
    """How far one subject goes by itself.

    Attributes:
        square: Mean square of the effects of the baseline's own stretches.
        memory: Correlation of a day with the one before, pooled over everything measured.
        prior: What the other columns of its detector say of `square`.
    """

    square: float
    memory: float
    prior: Prior


def _without_drift(measured: Sequence[Measurement]) -> Iterator[_WithoutDrift]:
    """Of each, in their order."""
    memory = pooled_memory([each.memory for each in measured])
    squares = _own_squares(measured)
    known: dict[str, list[int]] = {each.detector: [] for each in measured}
    for place, each in enumerate(measured):
        if each.own.size >= FEWEST_STRETCHES and squares[place] > 0:
            known[each.detector].append(place)
    priors = {
        detector: Prior.of(
            np.array([squares[place] for place in places]),
            _wander(
                min((measured[place] for place in places), key=lambda each: each.own.size), memory
            ).freedom,
        )
        if places
        else Prior()
        for detector, places in known.items()
    }
    for each, square in zip(measured, squares, strict=True):
        yield _WithoutDrift(square, memory, priors[each.detector])


def _wander(each: Measurement, memory: float, prior: int = 0) -> Wander:
    return Wander(each.own.size, each.cut, memory, prior)


def _own_squares(measured: Sequence[Measurement]) -> list[float]:
    """`own_square` of each; 0 where there is no stretch. At once, for windows of many columns."""
    squares = [0.0] * len(measured)
    alike: dict[int, list[int]] = {}
    for place, each in enumerate(measured):
        if each.own.size:
            alike.setdefault(each.own.size, []).append(place)
    for places in alike.values():
        own = np.stack([measured[place].own for place in places])
        for place, square in zip(places, mean_squares(own).tolist(), strict=True):
            squares[place] = square
    return squares


@dataclass(frozen=True, slots=True)
class _History:
    """One measurement's past.

    Attributes:
        recent: Its points in the windows that a lasting effect is looked for in, newest first.
        windows: Since the version first served, this one included, if all before it are known
            and show an effect; otherwise 0.
        known_skew: Whether it was skewed, and every window since has shown an effect.
    """

    recent: Sequence[DriftPoint]
    windows: int
    known_skew: bool

    @classmethod
    def of(
        cls, each: Measurement, earlier: Sequence[Earlier], test: DriftTest, from_first: bool
    ) -> _History:
        key = each.detector, each.subject
        past = [window.get(key) for window in earlier]
        from_first = from_first and len(past) < test.persistence_windows
        shown = list(
            takewhile(lambda point: point and point.effect_size >= test.effect_floor, past)
        )
        return cls(
            recent=[point for point in past[: test.persistence_windows - 1] if point],
            windows=len(past) + 1 if from_first and len(past) == len(shown) else 0,
            known_skew=any(point.skewed for point in shown if point),
        )


@dataclass(frozen=True, slots=True)
class _Judgement:
    """One measurement with what it is worth alone.

    Attributes:
        own_scale: Root mean square of what the baseline shows by itself; 0 if unknown.
        excess: The effect in units of `own_scale`; 0 if that is unknown.
        hits: Windows, this one included, whose effect reaches the floor.
        lasting: The null of lasting effects; None if the baseline has too few stretches.
        skew_p: Chance that all windows since the first show so much without drift; 1 where that
            can't be known.
    """

    measurement: Measurement
    test: DriftTest
    own_scale: float
    excess: float
    hits: int
    p_value: float
    lasting_p: float
    lasting: LastingNull | None
    history: _History
    skew_p: float = 1.0

    @classmethod
    def of(
        cls,
        each: Measurement,
        history: _History,
        test: DriftTest,
        alone: _WithoutDrift,
    ) -> _Judgement:
        past = history.recent
        hits = sum(point.effect_size >= test.effect_floor for point in past)
        hits += each.effect >= test.effect_floor
        if each.own.size < FEWEST_STRETCHES:
            found = sum(point.significant for point in past) + 1
            lasting_p = each.p_chance if found >= test.persistence_hits else 1.0
            return cls(each, test, 0.0, 0.0, hits, each.p_chance, lasting_p, None, history)
        prior = alone.prior if alone.square > 0 else Prior()
        known = _wander(each, alone.memory, prior.freedom)
        square = prior.moderated(alone.square, known.freedom)
        scale = math.sqrt(square + each.noise) or 1e-9
        excess = unbounded(each.effect) / scale
        once = lasting_null(known, 1, 1)
        together = lasting_null(known, test.persistence_hits, test.persistence_windows)
        # Past windows were judged with another memory, but in the same units.
        excesses = sorted([excess, *(point.excess for point in past)], reverse=True)
        lasting = excesses[test.persistence_hits - 1] if hits >= test.persistence_hits else 0.0
        skew_p = 1.0
        n = history.windows
        if n and each.course is not None and each.subject != LABEL:
            always = lasting_null(known, n, n)
            skew_p = max(each.p_chance, always.p_value(excesses[-1]))
        return cls(
            each,
            test,
            scale,
            excess,
            hits,
            max(each.p_chance, once.p_value(excess)),
            max(each.p_chance, together.p_value(lasting)),
            together,
            history,
            skew_p,
        )

    def is_skew(self, *, drifted: bool, since_first: bool) -> bool:
        """Whether it is an alarm, and one of serving otherwise than trained.

        Args:
            drifted: Whether the last windows are an alarm.
            since_first: Whether all windows since the first show it.
        """
        if self.history.known_skew and drifted:
            return True
        course = self.measurement.course
        if not since_first or course is None or not course.leapt:
            return False
        return drifted or self.history.windows < self.test.persistence_hits

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


def _skew_sentence(judgement: _Judgement, q_value: float, share: float) -> str:
    return (
        f"Alarm: effect {judgement.measurement.effect:.3f} is {judgement.excess:.1f} times how far "
        f"it goes by itself (q {q_value:.2g}, {share:g} allowed); it has been there since the "
        f"version's first window, and came with a leap from the last days of training."
    )


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
