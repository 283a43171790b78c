"""Approvals: a person's decision on one version and its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.resources import Meta
from services.registry.core.errors import ApprovalClosed, SelfApproval
from services.registry.core.gates import GateResult

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
class Approval:
    """A request for a decision, and the decision.

    Attributes:
        meta: `…/versions/{n}/approvals/{a}`.
        decided: PENDING, APPROVED or REJECTED; expiry comes with time, see `state_at`.
        gate_result: What the decision is about, by resource name.
        approver: Empty while PENDING.
        comment: The approver's words.
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

    def state_at(self, now: datetime) -> ApprovalState:
        """Where it stands at `now`: a request or permission that ran out is EXPIRED."""
        if self.decided is not ApprovalState.REJECTED and now >= self.expire_time:
            return ApprovalState.EXPIRED
        return self.decided

    def decided_by(
        self, approver: str, decision: Decision, comment: str, now: datetime
    ) -> Approval:
        """This approval with its decision.

        Raises:
            ApprovalClosed: It is decided or has expired.
            SelfApproval: The approver is the one who asked.
        """
        state = self.state_at(now)
        if state is not ApprovalState.PENDING:
            raise ApprovalClosed(self.meta.name, state)
        if approver == self.requester:
            raise SelfApproval(self.meta.name, approver)
        return replace(
            self,
            meta=self.meta.touched(now),
            decided=_DECIDED[decision],
            approver=approver,
            comment=comment,
        )

    def obstacle(
        self, now: datetime, artifact_digest: str | None, newest: GateResult | None
    ) -> str | None:
        """Why it doesn't let its version pass at `now`; None if it does.

        Args:
            now: The present.
            artifact_digest: Of the version.
            newest: The version's newest gate result.
        """
        state = self.state_at(now)
        if state is not ApprovalState.APPROVED:
            return f"{self.meta.name} is {state}"
        stale = self.staleness(artifact_digest, newest)
        return None if stale is None else f"{self.meta.name} is stale: {stale}"

    def staleness(self, artifact_digest: str | None, newest: GateResult | None) -> str | None:
        """How artifact or evidence changed since it was asked for; None if they didn't."""
        if self.artifact_digest != artifact_digest:
            return f"the version is {artifact_digest} and not {self.artifact_digest}"
        if newest is None or newest.evidence_digest != self.evidence_digest:
            return "the gate has been evaluated again on other evidence"
        if not newest.passed:
            return "the gate does not pass any more"
        return None
