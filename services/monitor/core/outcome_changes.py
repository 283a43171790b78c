"""Label shift or concept drift, once outcomes no longer follow the scores."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import stats

from services.common.sketches import Counts
from services.monitor.core.calibration import Floats, group_means, outcome_table
from services.monitor.core.detectors.numeric import NumericDrift
from services.monitor.core.detectors.port import Sight
from services.monitor.core.memory import FEWEST_STRETCHES
from services.monitor.core.moderation import Prior
from services.monitor.core.resources import ChangeKind
from services.monitor.core.wander import stretches_of

STRONG: Final = 10.0
"""How many times likelier one name must be: strong evidence (Jeffreys, Theory of Probability,
1961)."""

_UNEVEN_P: Final = 0.01
_FEWEST_STRETCHES: Final = 2
_CLIP: Final = 1e-4


def named_outcome_change(sight: Sight) -> tuple[ChangeKind, str]:
    """`LABEL_SHIFT`, `CONCEPT_DRIFT`, or `OUTCOME_CHANGE` if they can't be told apart; and why.

    A label shift multiplies the odds of outcome 1 by the same number at every score, and moves
    the scores as rows of that outcome score (Lipton, Wang and Smola, Detecting and correcting
    for label shift, ICML 2018). So a number that differs between scores is a concept drift. If
    it is the same, only where the scores lie can tell, and they wander by themselves: both
    moves are held against that of the held-out rows' own stretches, as long as the window. These
    are few, so what the features say of how far a column goes counts too.
    """
    before = sight.baseline.reliability
    if before is None:
        return ChangeKind.OUTCOME_CHANGE, "The baseline does not say what each score has meant."
    known = sight.known
    now = outcome_table(sight.baseline.score.sketch, sight.scores[known], sight.labels[known])
    then = before.sum(axis=0)
    factor, uneven_p = odds_factor(then, now)
    if uneven_p < _UNEVEN_P:
        return (
            ChangeKind.CONCEPT_DRIFT,
            f"The odds of outcome 1 changed by other factors at other scores (p {uneven_p:.2g}).",
        )
    logits = _logits(group_means(sight.baseline.score.sketch))
    blocks, days = sight.baseline.score.blocks, sight.baseline.score.days
    stretches = stretches_of(blocks, days, sight.span)[:, : logits.size]
    places = stretches @ logits / np.maximum(stretches.sum(axis=1), 1)
    variance = float(np.cov(logits, fweights=now.sum(axis=1)))
    rows = max(int(now.sum()), 1)
    place = float(now.sum(axis=1) @ logits / rows)
    move = label_shift_move(then, logits, factor)
    return named_move(places, place, move, variance / rows, features_prior(sight, variance))


def odds_factor(before: Counts, now: Counts) -> tuple[float, float]:
    """The factor on the odds of outcome 1, and the chance that it only seems to differ.

    Woolf's mean of the logarithms and test of their equality (Ann. Hum. Genet. 1955), half a row
    added to each count (Haldane, 1956).

    Args:
        before: int64 [groups, 2], outcomes by score group on the held-out rows.
        now: int64 [groups, 2], in the window.
    """
    seen = (before.sum(axis=1) > 0) & (now.sum(axis=1) > 0)
    old, new = before[seen] + 0.5, now[seen] + 0.5
    logs = np.log(new[:, 1] / new[:, 0]) - np.log(old[:, 1] / old[:, 0])
    weights = 1 / ((1 / new).sum(axis=1) + (1 / old).sum(axis=1))
    if not weights.size:
        return 1.0, 1.0
    mean = float(weights @ logs / weights.sum())
    uneven = float(weights @ (logs - mean) ** 2)
    return float(np.exp(mean)), float(stats.chi2.sf(uneven, max(weights.size - 1, 1)))


def label_shift_move(before: Counts, logits: Floats, factor: float) -> float:
    """How far a label shift with this factor on the odds moves the mean logit of the scores.

    Args:
        before: int64 [groups, 2], outcomes by score group on the held-out rows.
        logits: float64 [groups].
        factor: On the odds of outcome 1.
    """
    zeros, ones = (float(before[:, each] @ logits / before[:, each].sum()) for each in (0, 1))
    share = float(before[:, 1].sum() / before.sum())
    shifted = share * factor / (1 - share + share * factor)
    return (shifted - share) * (ones - zeros)


def features_prior(sight: Sight, variance: float) -> Prior:
    """What the numeric features say of how far the scores' place goes by itself.

    Moved by d of its standard deviations, a normal column has a Jensen-Shannon distance of
    d / sqrt(8 ln 2) from where it was, to the second order.

    Args:
        sight: The window.
        variance: Of the rows' logits.
    """
    known = [each for each in NumericDrift().measure(sight) if each.own.any()]
    n = min((each.own.size for each in known), default=0)
    if n < FEWEST_STRETCHES:
        return Prior()
    # Each stretch was held against the others alone.
    factor = 8 * np.log(2) * variance * (n - 1) / n
    return Prior.of(np.array([each.own_square * factor for each in known]), n - 1)


def named_move(
    places: Floats, place: float, move: float, noise: float, prior: Prior
) -> tuple[ChangeKind, str]:
    """Which change the scores' place speaks for, by the ratio of two Student likelihoods.

    Args:
        places: float64 [stretches], mean logits of the held-out rows' own stretches.
        place: That of the window.
        move: What a label shift would add to it; a concept drift adds nothing.
        noise: Square of the least that a window's place wanders: by chance alone.
        prior: Of the square of how far a place goes from one stretch to the next.
    """
    n = places.size
    if n < _FEWEST_STRETCHES:
        return (
            ChangeKind.OUTCOME_CHANGE,
            "The held-out rows are too few days to say how far scores go by themselves.",
        )
    square = prior.moderated(float(places.var(ddof=1)), n - 1)
    scale = float(np.sqrt(max(square, noise) * (1 + 1 / n)))
    moved = place - float(places.mean())
    likelihoods = stats.t.logpdf(np.array([moved - move, moved]) / scale, n - 1 + prior.freedom)
    ratio = float(np.exp(np.clip(likelihoods[0] - likelihoods[1], -30, 30)))
    words = (
        f"the scores' mean logit moved by {moved:+.3f}, a label shift would move it by "
        f"{move:+.3f}, and it goes {scale:.3f} by itself"
    )
    if ratio >= STRONG:
        return ChangeKind.LABEL_SHIFT, f"Label shift is {ratio:.3g} times likelier: {words}."
    if ratio <= 1 / STRONG:
        return (
            ChangeKind.CONCEPT_DRIFT,
            f"Concept drift is {1 / ratio:.3g} times likelier: {words}.",
        )
    return ChangeKind.OUTCOME_CHANGE, f"Label shift or concept drift, nobody can tell: {words}."


def _logits(means: Floats) -> Floats:
    clipped = np.clip(means, _CLIP, 1 - _CLIP)
    logits: Floats = np.log(clipped / (1 - clipped))
    return logits
