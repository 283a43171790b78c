"""Models, and what people say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.common.resources import Meta
from services.registry.core.policies import PromotionPolicy
from services.registry.core.retention.policy import RetentionPolicy


@dataclass(frozen=True, slots=True)
class Money:
    """An amount.

    Attributes:
        currency_code: ISO 4217, such as `EUR`.
        units: Whole units, >= 0.
        nanos: Billionths of a unit, 0 to 999,999,999.
    """

    currency_code: str
    units: int
    nanos: int

    def __str__(self) -> str:
        return f"{self.units + self.nanos / 1e9:,.2f} {self.currency_code}"


@dataclass(frozen=True, slots=True)
class Accountability:
    """Who answers for a model, and how.

    Attributes:
        owner: Team or person; may be empty.
        runbook_uri: Where people on call read what to do; may be empty.
        monthly_budget: None where none is agreed.
        first_version_has_no_rollback: Declared, so that the first version may go without one.
    """

    owner: str = ""
    runbook_uri: str = ""
    monthly_budget: Money | None = None
    first_version_has_no_rollback: bool = False


NOBODY = Accountability()


@dataclass(frozen=True, slots=True)
class Model:
    """A named series of versions that answer the same question."""

    meta: Meta
    description: str
    policy: PromotionPolicy
    accountability: Accountability = NOBODY
    retention: RetentionPolicy | None = None

    def changed(
        self,
        now: datetime,
        *,
        description: str,
        policy: PromotionPolicy,
        accountability: Accountability,
    ) -> Model:
        """This model with other words, policy and accountability."""
        return replace(
            self,
            meta=self.meta.touched(now),
            description=description,
            policy=policy,
            accountability=accountability,
        )
