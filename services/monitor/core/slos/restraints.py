"""What a budget policy has ordered, for as long as it is in force."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.common.names import parent_of
from services.common.resources import Meta
from services.monitor.core.slos.objectives import BudgetAction, BudgetRule

_CONSEQUENCES: Final = {
    BudgetAction.FREEZE_TRAINING: "no training but critical jobs is started",
    BudgetAction.STOP_ROLLOUTS: "no rollout begins a phase",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restraint:
    """One action of one objective's budget policy.

    Attributes:
        meta: Of `name_of`, under the monitor.
        slo: Whose budget is low, by resource name.
        rule: By which it came into force, and ends.
        since: When it came into force, server clock.
        remaining: Share of the budget that was left then.
        event_time: Up to which was counted then.
        is_lifted: It is over, and only kept until others have been told.
    """

    meta: Meta
    slo: str
    rule: BudgetRule
    since: datetime
    remaining: float
    event_time: datetime
    is_lifted: bool = False

    @staticmethod
    def name_of(slo: str, action: BudgetAction) -> str:
        """Its resource name: there is one for each action of each objective."""
        monitor, _, slo_id = slo.rpartition("/slos/")
        return f"{monitor}/restraints/{slo_id}-{action.lower().replace('_', '-')}"

    @property
    def project(self) -> str:
        """`projects/{project}`."""
        return parent_of(parent_of(self.meta.name))

    @property
    def reason(self) -> str:
        """Why, and until when, with the numbers."""
        return (
            f"The error budget of {self.slo.rpartition('/')[2]} was down to {self.remaining:.1%}, "
            f"below {self.rule.below:.1%}: {_CONSEQUENCES[self.rule.action]} until more than "
            f"{self.rule.until_above:.1%} is left."
        )

    def by(self, rule: BudgetRule, now: datetime) -> Restraint:
        """This restraint in force by another rule for the same action."""
        return replace(self, meta=self.meta.touched(now), rule=rule)

    def lifted(self, now: datetime) -> Restraint:
        """This restraint, over."""
        return replace(self, meta=self.meta.touched(now), is_lifted=True)
