"""What is refused about approvals: each way of not counting has its own reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.common.errors import (
    FailedPrecondition,
    PermissionDenied,
    PreconditionViolation,
)


class ApprovalRequired(FailedPrecondition):
    """The version has no approval that counts.

    Args:
        name: What needs one: a protected alias, or the version itself.
        version: The version.
        obstacles: Why each of the version's approvals doesn't count; the type is the reason.
    """

    reason = "APPROVAL_REQUIRED"

    def __init__(self, name: str, version: str, obstacles: Sequence[PreconditionViolation]) -> None:
        why = " ".join(obstacle.description for obstacle in obstacles)
        super().__init__(
            f"{name!r} needs a valid approval of {version!r}. {why}",
            violations=obstacles,
            name=name,
            version=version,
        )

    @classmethod
    def undecided(cls, approval: str, version: str) -> ApprovalRequired:
        """One that waits for a person."""
        text = f"{approval!r} is PENDING: nobody has decided it."
        return cls(version, version, [PreconditionViolation("APPROVAL_PENDING", approval, text)])


class ApprovalClosed(FailedPrecondition):
    """The approval is decided."""

    reason = "APPROVAL_CLOSED"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state}: it can't be decided any more."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )


class ApprovalExpired(FailedPrecondition):
    """The approval was not decided, or not used, in time."""

    reason = "APPROVAL_EXPIRED"

    def __init__(self, name: str, expire_time: datetime) -> None:
        text = f"{name!r} is EXPIRED since {expire_time:%Y-%m-%d %H:%M:%S} UTC."
        super().__init__(
            text,
            violations=[PreconditionViolation(self.reason, name, text)],
            name=name,
            expire_time=expire_time.isoformat(),
        )


class ApprovalRejected(FailedPrecondition):
    """The approval was refused."""

    reason = "APPROVAL_REJECTED"

    def __init__(self, name: str, approver: str) -> None:
        text = f"{name!r} was REJECTED by {approver!r}."
        super().__init__(
            text,
            violations=[PreconditionViolation(self.reason, name, text)],
            name=name,
            approver=approver,
        )


class ApprovalStale(FailedPrecondition):
    """The gate does not pass any more on the same evidence."""

    reason = "APPROVAL_STALE"

    def __init__(self, name: str, fault: str) -> None:
        text = f"{name!r} is stale: {fault}."
        super().__init__(
            text, violations=[PreconditionViolation(self.reason, name, text)], name=name
        )


class _Unbound(FailedPrecondition):
    """The approval is bound to something else.

    Args:
        name: The approval.
        bound: Digest that it is bound to; empty: to none.
        present: Digest, or version, that is there now; empty: none.
    """

    what = ""

    def __init__(self, name: str, bound: str, present: str) -> None:
        text = (
            f"{name!r} is bound to {self.what} {bound or '(none)'} and not to "
            f"{present or '(none)'}."
        )
        super().__init__(
            text,
            violations=[PreconditionViolation(self.reason, name, text)],
            name=name,
            bound=bound,
            present=present,
        )


class ApprovalArtifactChanged(_Unbound):
    """The approval is of another version or other bytes."""

    reason = "APPROVAL_ARTIFACT_CHANGED"
    what = "artifact"


class ApprovalEvidenceChanged(_Unbound):
    """The gate has been evaluated on other evidence since."""

    reason = "APPROVAL_EVIDENCE_CHANGED"
    what = "evidence"


class ApprovalPlanChanged(_Unbound):
    """The approval is bound to another rollout plan."""

    reason = "APPROVAL_PLAN_CHANGED"
    what = "plan"


class ApprovalPlanRequired(FailedPrecondition):
    """The model's policy asks for an approval that is bound to a plan."""

    reason = "APPROVAL_PLAN_REQUIRED"

    def __init__(self, name: str) -> None:
        text = f"{name!r} is bound to no rollout plan, and the model's policy asks for one."
        super().__init__(
            text, violations=[PreconditionViolation(self.reason, name, text)], name=name
        )


class SelfApproval(PermissionDenied):
    """Nobody decides on their own request."""

    reason = "SELF_APPROVAL"

    def __init__(self, name: str, approver: str) -> None:
        super().__init__(
            f"{approver!r} asked for {name!r} and can't decide it.", name=name, approver=approver
        )


class ApproverNotAllowed(PermissionDenied):
    """The model's policy does not list the approver."""

    reason = "APPROVER_NOT_ALLOWED"

    def __init__(self, name: str, approver: str) -> None:
        super().__init__(
            f"{approver!r} is not among the approvers of the model, and {name!r} needs one.",
            name=name,
            approver=approver,
        )
