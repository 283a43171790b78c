"""Gates and approvals: how a version earns a protected alias."""

from __future__ import annotations

from datetime import datetime

from services.common.errors import FieldViolation, InvalidRequest
from services.registry.core.approvals import DEFAULT_VALIDITY, Approval, ApprovalState, Decision
from services.registry.core.errors import (
    ApprovalRequired,
    ApprovalStale,
    BaselineRequired,
    EvaluationNotATest,
    EvaluationsNotComparable,
    GateNotPassed,
)
from services.registry.core.evaluations import Evaluation, Purpose
from services.registry.core.gates import GateResult, evidence_digest, judge, judge_readiness
from services.registry.core.lineage import Direction, Edge, Relation
from services.registry.core.measurements import (
    BUNDLE_SIZE_METRIC,
    EVALUATION_AGE_METRIC,
    SNAPSHOT_AGE_METRIC,
    Measurements,
)
from services.registry.core.models import Model
from services.registry.core.names import VERSION, id_of, parent_of
from services.registry.core.policies import BaselineBar
from services.registry.core.ports import RegistryTx
from services.registry.core.readiness import Rollback, readiness
from services.registry.core.use_cases.identities import new_child_meta
from services.registry.core.use_cases.lookup import (
    the_approval,
    the_evaluation,
    the_gate_result,
    the_model,
    the_version,
)
from services.registry.core.versions import ModelVersion, VersionState


def evaluate_gate(tx: RegistryTx, evaluation_name: str, baseline_name: str) -> GateResult:
    """The model's policy held against an evaluation, kept for good; failing is a result.

    Args:
        tx: The transaction.
        evaluation_name: The candidate's evaluation.
        baseline_name: The baseline's on the same rows; empty if no version serves yet.

    Raises:
        EvaluationNotFound: An evaluation doesn't exist.
        EvaluationNotATest: One was made for another purpose.
        EvaluationsNotComparable: They are of other models or rows, or of one version.
        BaselineRequired: The policy asks for a baseline, and a protected alias
            points at a version that isn't the one held against.
        VersionQuarantined: The candidate's bytes aren't whole.
    """
    candidate = the_evaluation(tx, evaluation_name, "evaluation")
    if candidate.scores.purpose is not Purpose.TEST:
        raise EvaluationNotATest("evaluation", evaluation_name, candidate.scores.purpose)
    version = the_version(tx, _version_of(evaluation_name))
    version.need_whole()
    model = the_model(tx, parent_of(version.meta.name))
    baseline = _comparable_baseline(tx, candidate, baseline_name) if baseline_name else None
    if any(isinstance(rule.bar, BaselineBar) for rule in model.policy.rules):
        _need_serving_baseline(tx, model, candidate, baseline)
    found = {
        item: readiness(item, version, model.accountability, _rollback(tx, model, version))
        for item in model.policy.readiness
    }
    verdicts = judge(
        model.policy.rules,
        _measured(tx, version, candidate),
        None
        if baseline is None
        else _measured(tx, the_version(tx, _version_of(baseline_name)), baseline),
    )
    result = GateResult(
        meta=new_child_meta(tx, version.meta.name, "gateResults"),
        evaluation=evaluation_name,
        baseline_evaluation=baseline_name,
        verdicts=(*verdicts, *judge_readiness(found)),
        evidence_digest=evidence_digest(model.policy.rules, candidate, baseline, found),
        artifact_digest=candidate.artifact_digest,
    )
    tx.gate_results.add(result)
    for evidence in filter(None, (evaluation_name, baseline_name)):
        tx.link(Edge(evidence, result.meta.name, Relation.GATED, tx.now))
    tx.tell(
        "gate.evaluated",
        result.meta.name,
        {
            "version": version.meta.name,
            "passed": result.passed,
            "evidence_digest": result.evidence_digest,
        },
    )
    return result


def _version_of(evidence_name: str) -> str:
    return parent_of(evidence_name)


def _measured(tx: RegistryTx, version: ModelVersion, evaluation: Evaluation) -> Measurements:
    scores = evaluation.scores
    own = {
        BUNDLE_SIZE_METRIC: float(version.size_bytes),
        EVALUATION_AGE_METRIC: (tx.now - evaluation.meta.create_time).total_seconds(),
    }
    snapshot = tx.snapshots.get(scores.snapshot)
    if snapshot is not None and snapshot.window is not None:
        own[SNAPSHOT_AGE_METRIC] = (tx.now - snapshot.window.end).total_seconds()
    return Measurements({**scores.metrics, **own}, scores.standard_errors, scores.slices)


def _rollback(tx: RegistryTx, model: Model, candidate: ModelVersion) -> Rollback:
    """Where the version that has, or had last, a protected alias stands."""
    aliases = [f"{model.meta.name}/aliases/{id_}" for id_ in model.policy.protected_aliases]
    holders = [
        edge.source
        for edge in tx.edges_at(aliases, Direction.UPSTREAM)
        if edge.relation is Relation.ALIASED and VERSION.matches(edge.source)
    ]
    holders += [alias.version for alias in map(tx.aliases.get, aliases) if alias is not None]
    others = [name for name in holders if name != candidate.meta.name]
    if not others:
        return Rollback("", False)
    target = tx.versions.get(others[-1])
    return Rollback(others[-1], target is not None and target.state is VersionState.READY)


def _comparable_baseline(tx: RegistryTx, candidate: Evaluation, baseline_name: str) -> Evaluation:
    baseline = the_evaluation(tx, baseline_name, "baseline_evaluation")
    if baseline.scores.purpose not in (Purpose.TEST, Purpose.BASELINE):
        raise EvaluationNotATest("baseline_evaluation", baseline_name, baseline.scores.purpose)
    names = candidate.meta.name, baseline_name
    if _version_of(names[0]) == _version_of(names[1]):
        raise EvaluationsNotComparable(*names, "both are of one version")
    if parent_of(_version_of(names[0])) != parent_of(_version_of(names[1])):
        raise EvaluationsNotComparable(*names, "they are of different models")
    if not candidate.scores.stands_on_the_rows_of(baseline.scores):
        raise EvaluationsNotComparable(*names, "they stand on different rows")
    return baseline


def _need_serving_baseline(
    tx: RegistryTx, model: Model, candidate: Evaluation, baseline: Evaluation | None
) -> None:
    candidate_version = _version_of(candidate.meta.name)
    held_against = "" if baseline is None else _version_of(baseline.meta.name)
    serving = {
        alias.version: alias.meta.name
        for alias in tx.aliases.under(model.meta.name)
        if id_of(alias.meta.name) in model.policy.protected_aliases
        and alias.version != candidate_version
    }
    if serving and held_against not in serving:
        version, alias = next(iter(serving.items()))
        raise BaselineRequired(candidate.meta.name, alias, version)


def request_approval(
    tx: RegistryTx,
    version_name: str,
    *,
    gate_result: str,
    requester: str,
    expire_time: datetime | None,
) -> Approval:
    """A request for a decision on a version whose gate passed.

    Raises:
        VersionNotFound, GateResultNotFound: The version or gate result doesn't exist.
        VersionNotReady: The version may not be used.
        GateNotPassed: Its rules failed.
        ApprovalStale: The gate was evaluated again on other evidence.
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
    )
    _need_fresh(tx, version, approval)
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


def _need_fresh(tx: RegistryTx, version: ModelVersion, approval: Approval) -> None:
    stale = approval.staleness(version.digest, tx.gate_results.newest(version.meta.name))
    if stale is not None:
        raise ApprovalStale(approval.meta.name, stale)


def decide_approval(
    tx: RegistryTx, name: str, decision: Decision, *, approver: str, comment: str, etag: str
) -> Approval:
    """The approval with its decision.

    Raises:
        ApprovalNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        ApprovalClosed: It is decided or has expired.
        SelfApproval: The approver is the one who asked.
        ApprovalStale: Artifact or evidence changed; a rejection passes all the same.
        VersionQuarantined: The version's bytes aren't whole; a rejection passes.
    """
    approval = the_approval(tx, name)
    approval.meta.check_etag(etag)
    decided = approval.decided_by(approver, decision, comment, tx.now)
    version = the_version(tx, parent_of(name))
    if decision is Decision.APPROVE:
        version.need_whole()
        _need_fresh(tx, version, approval)
    tx.approvals.replace(decided)
    tx.tell(
        "approval.decided",
        name,
        {"version": version.meta.name, "decision": decided.decided.value, "approver": approver},
    )
    return decided


def valid_approval(tx: RegistryTx, alias: str, version: ModelVersion) -> Approval:
    """The approval that lets `version` have the protected `alias` now.

    Raises:
        ApprovalRequired: There is none; says why each doesn't count.
    """
    newest = tx.gate_results.newest(version.meta.name)
    obstacles = []
    for approval in reversed(tx.approvals.under(version.meta.name)):
        obstacle = approval.obstacle(tx.now, version.digest, newest)
        if obstacle is None:
            return approval
        obstacles.append(obstacle)
    raise ApprovalRequired(alias, version.meta.name, obstacles or ["it has no approval"])
