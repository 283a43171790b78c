"""Approvals asked for, decided and used: the last step to a protected alias or to traffic."""

from __future__ import annotations

from datetime import datetime

from services.common.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidRequest,
    PermissionDenied,
    PreconditionViolation,
    ServiceError,
)
from services.registry.core.aliases import MoveOrder
from services.registry.core.approvals import (
    DEFAULT_VALIDITY,
    NOT_SAID,
    Approval,
    ApprovalState,
    Decision,
    Present,
    Seen,
)
from services.registry.core.errors import ApprovalPlanRequired, ApprovalRequired, GateNotPassed
from services.registry.core.gates import GateResult
from services.registry.core.lineage import Edge, Relation
from services.registry.core.names import parent_of
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.identities import new_child_meta
from services.registry.core.use_cases.lookup import (
    the_approval,
    the_gate_result,
    the_model,
    the_version,
)
from services.registry.core.versions import ModelVersion


def request_approval(
    tx: RegistryTx,
    version_name: str,
    *,
    gate_result: str,
    requester: str,
    expire_time: datetime | None,
    plan_digest: str = "",
) -> Approval:
    """A request for a decision on a version whose gate passed.

    Raises:
        VersionNotFound, GateResultNotFound: The version or gate result doesn't exist.
        VersionNotReady: The version may not be used.
        GateNotPassed: Its rules failed.
        ApprovalEvidenceChanged: The gate was evaluated again on other evidence.
        ApprovalStale: Evaluated again on this evidence, the gate failed.
        ApprovalPlanRequired: The policy asks for a plan.
        InvalidRequest: The gate result is of another version, or the expiry is past.
    """
    version = the_version(tx, version_name, "parent")
    version.need_ready()
    result = the_gate_result(tx, gate_result, "approval.gate_result")
    expiry = tx.now + DEFAULT_VALIDITY if expire_time is None else expire_time
    _check_request(tx, version_name, result, expiry)
    if not result.passed:
        raise GateNotPassed(gate_result, result.failures())
    approval = Approval(
        meta=new_child_meta(tx, version_name, "approvals"),
        decided=ApprovalState.PENDING,
        gate_result=gate_result,
        artifact_digest=result.artifact_digest,
        evidence_digest=result.evidence_digest,
        requester=requester,
        expire_time=expiry,
        plan_digest=plan_digest,
    )
    present = _present(tx, version)
    approval.check_fresh(present)
    if present.policy.requires_plan and not plan_digest:
        raise ApprovalPlanRequired(approval.meta.name)
    tx.approvals.add(approval)
    tx.link(Edge(gate_result, approval.meta.name, Relation.APPROVED, tx.now))
    tx.tell(
        "approval.requested", approval.meta.name, {"version": version_name, "requester": requester}
    )
    return approval


def _check_request(tx: RegistryTx, version: str, result: GateResult, expiry: datetime) -> None:
    faults = []
    if parent_of(result.meta.name) != version:
        faults.append(FieldViolation("approval.gate_result", f"is not of {version}"))
    if expiry <= tx.now:
        faults.append(FieldViolation("approval.expire_time", "is past"))
    if faults:
        raise InvalidRequest(faults)


def decide_approval(
    tx: RegistryTx,
    name: str,
    decision: Decision,
    *,
    approver: str,
    comment: str,
    etag: str,
    seen: Seen = NOT_SAID,
) -> Approval:
    """The approval with its decision.

    Raises:
        ApprovalNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        ApprovalClosed, ApprovalExpired: It doesn't wait for a decision.
        SelfApproval, ApproverNotAllowed: The approver may not decide it.
        ApprovalArtifactChanged, ApprovalEvidenceChanged, ApprovalPlanChanged: The approver
            looked at something else; or, to approve, what it is bound to has changed.
        ApprovalStale: On this evidence the gate does not pass any more; a rejection passes.
        VersionQuarantined: The version's bytes aren't whole; a rejection passes.
    """
    approval = the_approval(tx, name)
    approval.meta.check_etag(etag)
    version = the_version(tx, parent_of(name))
    present = _present(tx, version)
    approval.check_decidable(approver, present.policy, tx.now)
    approval.check_seen(seen)
    if decision is Decision.APPROVE:
        version.need_whole()
        approval.check_fresh(present)
    decided = approval.decided_as(decision, approver=approver, comment=comment, now=tx.now)
    tx.approvals.replace(decided)
    tx.tell(
        "approval.decided",
        name,
        {"version": version.meta.name, "decision": decided.decided.value, "approver": approver},
    )
    return decided


def check_approval(
    tx: RegistryTx, name: str, *, version_name: str, artifact_digest: str, plan_digest: str
) -> Approval:
    """The approval, if it lets these bytes of the version be used now by this plan.

    Raises:
        ApprovalNotFound, VersionNotFound: There is none.
        ServiceError: See `Approval.check_usable`.
    """
    approval = the_approval(tx, name)
    version = the_version(tx, version_name, "version")
    present = Present(
        version_name,
        artifact_digest,
        tx.gate_results.newest(version_name),
        _present(tx, version).policy,
    )
    approval.check_usable(present, plan_digest, tx.now)
    return approval


def valid_approval(tx: RegistryTx, order: MoveOrder, version: ModelVersion) -> Approval:
    """The approval that lets `version` have a protected alias now.

    Raises:
        ApprovalNotFound: The order names one that doesn't exist.
        ApprovalRequired: There is none; says why each doesn't count.
        ServiceError: The order names one that doesn't count; see `Approval.check_usable`.
    """
    present = _present(tx, version)
    if order.approval:
        approval = the_approval(tx, order.approval, "approval")
        approval.check_usable(present, order.plan_digest, tx.now)
        return approval
    obstacles = []
    for approval in reversed(tx.approvals.under(version.meta.name)):
        try:
            approval.check_usable(present, order.plan_digest, tx.now)
        except (FailedPrecondition, PermissionDenied) as error:
            obstacles.append(_obstacle(approval, error))
        else:
            return approval
    if not obstacles:
        text = f"{version.meta.name!r} has no approval."
        obstacles.append(PreconditionViolation("APPROVAL", version.meta.name, text))
    raise ApprovalRequired(order.alias, version.meta.name, obstacles)


def _obstacle(approval: Approval, error: ServiceError) -> PreconditionViolation:
    if isinstance(error, ApprovalRequired):
        return error.violations[0]
    return PreconditionViolation(error.reason, approval.meta.name, str(error))


def _present(tx: RegistryTx, version: ModelVersion) -> Present:
    name = version.meta.name
    model = the_model(tx, parent_of(name))
    return Present(name, version.digest, tx.gate_results.newest(name), model.policy)
