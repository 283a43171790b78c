"""Approvals: a person's decision on one version and its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.names import parent_of
from services.common.resources import Meta
from services.registry.core.errors import (
    ApprovalArtifactChanged,
    ApprovalClosed,
    ApprovalEvidenceChanged,
    ApprovalExpired,
    ApprovalPlanChanged,
    ApprovalPlanRequired,
    ApprovalRejected,
    ApprovalRequired,
    ApprovalStale,
    ApproverNotAllowed,
    SelfApproval,
)
from services.registry.core.gates import GateResult
from services.registry.core.policies import PromotionPolicy

DEFAULT_VALIDITY: Final = timedelta(days=7)
"""A decision on evidence that is older than a week should be made again."""


class ApprovalState(StrEnum):
    """Where an approval stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class Decision(StrEnum):
    """What an approver decides."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"


_DECIDED: Final = {
    Decision.APPROVE: ApprovalState.APPROVED,
    Decision.REJECT: ApprovalState.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Digests that an approver says to have looked at; empty: not said."""

    artifact_digest: str = ""
    evidence_digest: str = ""
    plan_digest: str = ""


NOT_SAID: Final = Seen()


@dataclass(frozen=True, slots=True)
class Present:
    """What an approval is held against.

    Attributes:
        version: That shall be used, by resource name.
        artifact_digest: Of its manifest.
        newest: Its newest gate result.
        policy: Of its model.
    """

    version: str
    artifact_digest: str | None
    newest: GateResult | None
    policy: PromotionPolicy


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for a decision, and the decision.

    Attributes:
        meta: `…/versions/{n}/approvals/{a}`.
        decided: PENDING, APPROVED or REJECTED; expiry comes with time, see `state_at`.
        gate_result: What the decision is about, by resource name.
        approver: Empty while PENDING.
        comment: The approver's words.
        plan_digest: Of the rollout plan that it is bound to; empty: any.
    """

    meta: Meta
    decided: ApprovalState
    gate_result: str
    artifact_digest: str
    evidence_digest: str
    requester: str
    expire_time: datetime
    approver: str = ""
    comment: str = ""
    plan_digest: str = ""

    def state_at(self, now: datetime) -> ApprovalState:
        """Where it stands at `now`: a request or permission that ran out is EXPIRED."""
        if self.decided is not ApprovalState.REJECTED and now >= self.expire_time:
            return ApprovalState.EXPIRED
        return self.decided

    def check_decidable(self, approver: str, policy: PromotionPolicy, now: datetime) -> None:
        """Pass while `approver` may decide.

        Raises:
            ApprovalExpired, ApprovalClosed: It doesn't wait for a decision.
            SelfApproval: The approver is the one who asked.
            ApproverNotAllowed: The policy doesn't list the approver.
        """
        match self.state_at(now):
            case ApprovalState.PENDING:
                pass
            case ApprovalState.EXPIRED:
                raise ApprovalExpired(self.meta.name, self.expire_time)
            case state:
                raise ApprovalClosed(self.meta.name, state)
        if approver == self.requester:
            raise SelfApproval(self.meta.name, approver)
        if not policy.allows(approver):
            raise ApproverNotAllowed(self.meta.name, approver)

    def check_seen(self, seen: Seen) -> None:
        """Pass an approver who looked at what this is bound to.

        Raises:
            ApprovalArtifactChanged, ApprovalEvidenceChanged, ApprovalPlanChanged: It was
                something else.
        """
        name = self.meta.name
        if seen.artifact_digest not in ("", self.artifact_digest):
            raise ApprovalArtifactChanged(name, self.artifact_digest, seen.artifact_digest)
        if seen.evidence_digest not in ("", self.evidence_digest):
            raise ApprovalEvidenceChanged(name, self.evidence_digest, seen.evidence_digest)
        if seen.plan_digest not in ("", self.plan_digest):
            raise ApprovalPlanChanged(name, self.plan_digest, seen.plan_digest)

    def check_fresh(self, present: Present) -> None:
        """Pass while artifact and evidence are what this is bound to.

        Raises:
            ApprovalArtifactChanged: It is of another version or other bytes.
            ApprovalEvidenceChanged: The gate has been evaluated on other evidence since.
            ApprovalStale: On this evidence the gate does not pass any more.
        """
        name, newest = self.meta.name, present.newest
        if parent_of(name) != present.version:
            raise ApprovalArtifactChanged(name, self.artifact_digest, present.version)
        if self.artifact_digest != present.artifact_digest:
            raise ApprovalArtifactChanged(name, self.artifact_digest, present.artifact_digest or "")
        if newest is None or newest.evidence_digest != self.evidence_digest:
            found = "" if newest is None else newest.evidence_digest
            raise ApprovalEvidenceChanged(name, self.evidence_digest, found)
        if not newest.passed:
            raise ApprovalStale(name, f"{newest.meta.name} does not pass any more")

    def check_usable(self, present: Present, plan_digest: str, now: datetime) -> None:
        """Pass while this lets the version be used, by the plan of this digest.

        Raises:
            ApprovalExpired, ApprovalRejected, ApprovalRequired: It isn't approved.
            ApproverNotAllowed: The policy doesn't list who approved it.
            ApprovalArtifactChanged, ApprovalEvidenceChanged, ApprovalStale: See `check_fresh`.
            ApprovalPlanChanged: It is bound to another plan.
            ApprovalPlanRequired: It is bound to no plan, and the policy asks for one.
        """
        name = self.meta.name
        match self.state_at(now):
            case ApprovalState.APPROVED:
                pass
            case ApprovalState.PENDING:
                raise ApprovalRequired.undecided(name, present.version)
            case ApprovalState.REJECTED:
                raise ApprovalRejected(name, self.approver)
            case ApprovalState.EXPIRED:
                raise ApprovalExpired(name, self.expire_time)
        if not present.policy.allows(self.approver):
            raise ApproverNotAllowed(name, self.approver)
        self.check_fresh(present)
        if self.plan_digest not in ("", plan_digest):
            raise ApprovalPlanChanged(name, self.plan_digest, plan_digest)
        if present.policy.requires_plan and not self.plan_digest:
            raise ApprovalPlanRequired(name)

    def decided_as(
        self, decision: Decision, *, approver: str, comment: str, now: datetime
    ) -> Approval:
        """This approval with its decision."""
        return replace(
            self,
            meta=self.meta.touched(now),
            decided=_DECIDED[decision],
            approver=approver,
            comment=comment,
        )
