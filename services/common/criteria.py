"""When a version that is compared with the one before has failed, and when it has passed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

DEFAULT_ALPHA: Final = 0.05
"""Chance of a false rollback that a whole rollout has, unless its phases say otherwise."""


class Verdict(StrEnum):
    """What the evidence says."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Measure(StrEnum):
    """What is measured of a version in service; see `Measure` in verdicts.proto."""

    FAILED_SHARE = "FAILED_SHARE"
    SLOW_SHARE = "SLOW_SHARE"
    MEAN_SCORE = "MEAN_SCORE"
    LOG_LOSS = "LOG_LOSS"
    BRIER = "BRIER"
    WRONG_SHARE = "WRONG_SHARE"


class PassRule(StrEnum):
    """What passes once the minimum sample is there; see `Criteria.PassRule`."""

    NO_HARM_SEEN = "NO_HARM_SEEN"
    HARM_EXCLUDED = "HARM_EXCLUDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What is tested and what is tolerated; see `Criteria` in verdicts.proto.

    Attributes:
        alpha: Of the phase; None: a share of `DEFAULT_ALPHA` that the phases of a rollout split.
        min_requests: Requests of either version that a PASS needs.
        max_failed_rise: Of the share of failed requests.
        max_slow_rise: Of the share of slow requests.
        slow_after: None: what 99 % of the old version's first requests stayed below.
        max_score_shift: Of the mean score; None: not tested.
        loss: `LOG_LOSS`, `BRIER` or `WRONG_SHARE`.
        max_loss_rise: Of the mean loss.
        slices: Features whose every value is tested apart.
    """

    alpha: float | None = None
    min_requests: int = 0
    max_failed_rise: float = 0.01
    max_slow_rise: float = 0.02
    slow_after: timedelta | None = None
    max_score_shift: float | None = None
    loss: Measure = Measure.LOG_LOSS
    max_loss_rise: float = 0.02
    slices: tuple[str, ...] = ()
    pass_rule: PassRule = PassRule.NO_HARM_SEEN

    def tolerances(self) -> dict[Measure, float]:
        """What is tested, with the effect that is tolerated."""
        tested = {
            Measure.FAILED_SHARE: self.max_failed_rise,
            Measure.SLOW_SHARE: self.max_slow_rise,
            self.loss: self.max_loss_rise,
        }
        if self.max_score_shift is not None:
            tested[Measure.MEAN_SCORE] = self.max_score_shift
        return tested


DEFAULT_CRITERIA: Final = Criteria()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one test found; see `Finding` in verdicts.proto.

    Attributes:
        slice_feature: Empty: over all requests.
        effect: The new version's value less the old one's.
        lower: None while there is too little evidence for a bound; so `upper`.
        alpha: Chance of either bound to be wrong at any time.
    """

    measure: Measure
    slice_feature: str
    slice_value: str
    candidate_n: int
    champion_n: int
    candidate_value: float
    champion_value: float
    effect: float
    lower: float | None
    upper: float | None
    tolerance: float
    alpha: float
    verdict: Verdict
    reason: str
