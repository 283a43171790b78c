"""Whether a score still means what it meant: an alarm on matured outcomes that is always on."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.monitor.core.calibration import Calibration, Floats
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import ConceptState, DriftTest

BETS: Final = (0.1, 0.25, 0.6)
"""Shares that are staked on either side; the best for a gap g is 4 g, so from .025 to .15."""

TOLERANCE: Final = 0.02
"""Gap between frequency and expectation that is no drift: as `verdicts.MARGIN`, too small to
matter."""

CONCEPT_SHARE: Final = 0.5
"""Of the budget of false alarms; the rest is that of effects (`alarms`)."""


def concept_state(
    sight: Sight, earlier: ConceptState | None, test: DriftTest
) -> ConceptState | None:
    """The evidence after this window's outcomes; None if the baseline has no calibration.

    Each outcome multiplies bets that the frequency of 1 lies above, or below, what the score
    has meant, by more than the tolerance and twice its standard error. A bet that falls below
    1 starts over. The mean of these CUSUMs is an e-detector: over outcomes without drift its
    average run length until it reaches c is at least c (Shin, Ramdas and Rinaldo, E-detectors,
    NEJSDS 2023). Here c is the window's outcomes over the declared share of windows. Outcomes
    of one day share what happened that day; a bet's gain is divided by how much that spread
    them on the held-out rows, which keeps it a fair bet and makes it a slower one.

    Args:
        sight: The window.
        earlier: The state after the window before.
        test: Declares the budget.
    """
    calibration = Calibration.of(sight.baseline)
    if calibration is None:
        return None
    order = np.argsort(sight.event_us, kind="stable")
    order = order[sight.known[order]]
    starts = np.zeros(2 * len(BETS))
    if earlier is not None and len(earlier.log_values) == starts.size:
        starts = np.array(earlier.log_values)
    windows = 1 / (test.false_alarm_budget * CONCEPT_SHARE)
    threshold = float(np.log(max(order.size, 1) * windows))
    if not order.size:
        return _state(starts, 0.0, threshold, 0, "No alarm: no outcome is known yet.")
    frequency, error = calibration.expected(sight.scores[order])
    residual = sight.labels[order] - frequency
    slack = TOLERANCE + 2 * error
    gains = np.stack(
        [
            np.log1p(np.maximum(bet * (side * residual - slack), -0.99))
            for bet in BETS
            for side in (1, -1)
        ],
        axis=1,
    )
    paths = _cusum(gains / calibration.overdispersion, starts)
    highest = paths.max(axis=1, keepdims=True)
    mixed = highest[:, 0] + np.log(np.exp(paths - highest).mean(axis=1))
    evidence = float(mixed.max())
    gap = float(residual.mean())
    words = (
        f"outcomes came true {abs(gap):.3f} {'more' if gap > 0 else 'less'} often than the "
        f"scores have meant, in {order.size:,} of them; evidence {evidence:.1f} of "
        f"{threshold:.1f} nats, one false alarm in {windows:.0f} windows at most"
    )
    alarms = evidence >= threshold
    reason = f"{'Alarm' if alarms else 'No alarm'}: {words}."
    return _state(paths[-1], evidence, threshold, int(order.size), reason)


def _state(
    log_values: Floats, evidence: float, threshold: float, outcomes: int, reason: str
) -> ConceptState:
    return ConceptState(
        log_values=tuple(np.maximum(log_values, 0.0).tolist()),
        evidence=evidence,
        threshold=threshold,
        outcomes=outcomes,
        reason=reason,
    )


def _cusum(gains: Floats, starts: Floats) -> Floats:
    """float64 [outcomes, bets]: w_t = max(w_t-1, 0) + gain_t, without a loop (Lindley, 1952)."""
    sums = starts + np.cumsum(gains, axis=0)
    before = np.vstack([np.zeros_like(starts), sums[:-1]])
    lowest = np.minimum(np.minimum.accumulate(before, axis=0), 0.0)
    paths: Floats = sums - lowest
    return paths
