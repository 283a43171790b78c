"""What an objective promises. Each field is described in protos/roundhouse/monitor/v1/slo.proto."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction

from services.common.resources import Meta


class SliKind(StrEnum):
    """What is counted."""

    AVAILABILITY = "AVAILABILITY"
    LATENCY = "LATENCY"
    QUALITY = "QUALITY"
    JOBS = "JOBS"

    @property
    def counts_requests(self) -> bool:
        """Whether the events are requests."""
        return self in (SliKind.AVAILABILITY, SliKind.LATENCY)


@dataclass(frozen=True, slots=True)
class QualityBar:
    """What a window's report has to show."""

    metric: str
    bar: float
    min_outcomes: int

    def is_met_by(self, value: float) -> bool:
        """Whether a value of the metric is good."""
        return value >= self.bar if self.metric == "auc" else value <= self.bar


@dataclass(frozen=True, slots=True)
class Sli:
    """What is counted, and when it is good.

    Attributes:
        latency_bound: Set where the kind is LATENCY, only there.
        quality: Set where the kind is QUALITY, only there.
    """

    kind: SliKind
    latency_bound: timedelta | None = None
    quality: QualityBar | None = None


class BudgetAction(StrEnum):
    """What is ordered while a budget is low."""

    FREEZE_TRAINING = "FREEZE_TRAINING"
    STOP_ROLLOUTS = "STOP_ROLLOUTS"


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """Orders an action while a budget is low: from below one share on until it is above another."""

    action: BudgetAction
    below: float
    until_above: float

    def orders(self, remaining: Fraction, *, in_force: bool) -> bool:
        """Whether the action is in force from now on.

        Args:
            remaining: Share of the budget that is left; below 0 when the objective is missed.
            in_force: Whether it was so far.
        """
        if in_force:
            return remaining <= Fraction(repr(self.until_above))
        return remaining < Fraction(repr(self.below))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """How often what is counted may be bad."""

    meta: Meta
    sli: Sli
    target: float
    window: timedelta = timedelta(days=30)
    min_bad_events: int
    description: str = ""
    owner: str = ""
    runbook: str = ""
    budget_policy: tuple[BudgetRule, ...] = ()

    @property
    def exact_target(self) -> Fraction:
        """The target as the decimal that it is written as."""
        return Fraction(repr(self.target))
