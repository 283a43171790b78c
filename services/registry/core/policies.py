"""Promotion policies: the rules that guard a model's protected aliases, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from services.registry.core.canonical import Json


class Comparison(StrEnum):
    """How a value is held against its bar."""

    AT_LEAST = "AT_LEAST"
    AT_MOST = "AT_MOST"

    def holds(self, value: float, bar: float) -> bool:
        """Whether `value` passes `bar`."""
        return value >= bar if self is Comparison.AT_LEAST else value <= bar

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self is Comparison.AT_LEAST else -1


@dataclass(frozen=True, slots=True)
class FixedBar:
    """The same number for every version."""

    value: float


@dataclass(frozen=True, slots=True)
class BaselineBar:
    """The baseline's value on the same rows, plus `margin`.

    Attributes:
        margin: Added as it is.
        noise_multiplier: Standard errors of the difference that the candidate must be better
            by; below 0: may be worse by.
    """

    margin: float
    noise_multiplier: float = 0.0


class Reduction(StrEnum):
    """What becomes of several slices."""

    EVERY = "EVERY"
    WORST = "WORST"
    GAP = "GAP"


@dataclass(frozen=True, slots=True)
class NamedSlice:
    """The rows whose `column` holds `value`, if they are at least `min_rows`."""

    column: str
    value: str
    min_rows: int

    def __str__(self) -> str:
        return f"{self.column}={self.value}"


@dataclass(frozen=True, slots=True)
class SlicesOf:
    """Every slice of `column` of at least `min_rows`."""

    column: str
    reduction: Reduction
    min_rows: int

    def __str__(self) -> str:
        if self.reduction is Reduction.GAP:
            return f"gap of {self.column}"
        return f"{self.reduction.lower()} {self.column}"


SliceScope: TypeAlias = NamedSlice | SlicesOf


@dataclass(frozen=True, slots=True)
class GateRule:
    """One comparison that a version must pass.

    Attributes:
        metric: Of the evaluation, or one that the registry measures itself.
        scope: Slices that it is about; None: all rows together.
    """

    metric: str
    comparison: Comparison
    bar: FixedBar | BaselineBar
    scope: SliceScope | None = None

    @property
    def subject(self) -> str:
        """What is judged, in short: `auc`, `auc[origin=JFK]`, `auc[worst origin]`."""
        return self.metric if self.scope is None else f"{self.metric}[{self.scope}]"

    def as_json(self) -> Json:
        """This rule as evidence; what is unset leaves no trace."""
        if isinstance(self.bar, FixedBar):
            bar: dict[str, Json] = {"value": self.bar.value}
        else:
            bar = {"baseline_margin": self.bar.margin}
            if self.bar.noise_multiplier:
                bar["noise_multiplier"] = self.bar.noise_multiplier
        rule: dict[str, Json] = {
            "metric": self.metric,
            "comparison": self.comparison.value,
            "bar": bar,
        }
        if self.scope is not None:
            rule["scope"] = {"rows": str(self.scope), "min_rows": self.scope.min_rows}
        return rule


class ReadinessItem(StrEnum):
    """What a version must have before it goes into production."""

    MODEL_CARD = "MODEL_CARD"
    OWNER = "OWNER"
    RUNBOOK = "RUNBOOK"
    ROLLBACK_TARGET = "ROLLBACK_TARGET"
    BUDGET = "BUDGET"

    @property
    def subject(self) -> str:
        """What is judged, in short: `readiness.owner`."""
        return f"readiness.{self.lower()}"


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """What a version must show before a protected alias may point at it.

    Attributes:
        rules: All must pass.
        protected_aliases: Ids, such as `champion`.
        readiness: The checklist that must be complete as well.
        approvers: Who may decide; empty: anyone but who asked.
        requires_plan: Whether an approval must be bound to a rollout plan.
    """

    rules: tuple[GateRule, ...] = ()
    protected_aliases: tuple[str, ...] = ()
    readiness: tuple[ReadinessItem, ...] = ()
    approvers: tuple[str, ...] = ()
    requires_plan: bool = False

    def allows(self, approver: str) -> bool:
        """Whether `approver` may decide at all."""
        return not self.approvers or approver in self.approvers
