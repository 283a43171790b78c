"""Models and the policies that guard their protected aliases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.common.resources import Meta
from services.registry.core.canonical import Json


class Comparison(StrEnum):
    """How a value is held against its bar."""

    AT_LEAST = "AT_LEAST"
    AT_MOST = "AT_MOST"

    def holds(self, value: float, bar: float) -> bool:
        """Whether `value` passes `bar`."""
        return value >= bar if self is Comparison.AT_LEAST else value <= bar


@dataclass(frozen=True, slots=True)
class FixedBar:
    """The same number for every version."""

    value: float


@dataclass(frozen=True, slots=True)
class BaselineBar:
    """The baseline's value on the same rows, plus `margin`."""

    margin: float


@dataclass(frozen=True, slots=True)
class GateRule:
    """One comparison that a version must pass.

    Attributes:
        metric: Of the evaluation, or `BUNDLE_SIZE_METRIC`.
    """

    metric: str
    comparison: Comparison
    bar: FixedBar | BaselineBar

    def as_json(self) -> Json:
        """This rule as evidence."""
        if isinstance(self.bar, FixedBar):
            bar: Json = {"value": self.bar.value}
        else:
            bar = {"baseline_margin": self.bar.margin}
        return {"metric": self.metric, "comparison": self.comparison.value, "bar": bar}


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """What a version must show before a protected alias may point at it.

    Attributes:
        rules: All must pass.
        protected_aliases: Ids, such as `champion`.
    """

    rules: tuple[GateRule, ...] = ()
    protected_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A named series of versions that answer the same question."""

    meta: Meta
    description: str
    policy: PromotionPolicy

    def changed(self, now: datetime, description: str, policy: PromotionPolicy) -> Model:
        """This model with another description and policy."""
        return replace(self, meta=self.meta.touched(now), description=description, policy=policy)
