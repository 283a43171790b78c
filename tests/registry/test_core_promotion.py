from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.registry.core.aliases import MoveOrder
from services.registry.core.approvals import Approval, ApprovalState, Decision
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.errors import (
    AliasMoved,
    ApprovalClosed,
    ApprovalEvidenceChanged,
    ApprovalRequired,
    BaselineRequired,
    EvaluationsNotComparable,
    GateNotPassed,
    IllegalTransition,
    SelfApproval,
    SnapshotNotSealed,
    VersionNotReady,
)
from services.registry.core.evaluations import Purpose
from services.registry.core.gates import judge
from services.registry.core.lineage import DOWNSTREAM, UPSTREAM, Bounds, walk
from services.registry.core.measurements import Measurements
from services.registry.core.policies import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    PromotionPolicy,
)
from services.registry.core.snapshots import Origin
from services.registry.core.use_cases import approvals, datasets, models, promotion, versions
from services.registry.core.use_cases.aliases import move_aliases
from services.registry.core.versions import Ancestry, ModelVersion
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import (
    CHAMPION,
    DATASET,
    JOB,
    MODEL,
    NO_RULES,
    SNAPSHOT,
    create_model,
    evaluated,
    ready_version,
    sealed_snapshot,
)

VALUES = st.floats(-1e6, 1e6)
OTHER_ROWS = digest_of_bytes(b"others")
AUC_ABOVE_BASELINE = GateRule("auc", Comparison.AT_LEAST, BaselineBar(0.0))


@given(VALUES, VALUES)
def test_at_least_and_at_most_disagree_except_on_the_bar_itself(value: float, bar: float) -> None:
    rules = [GateRule("m", comparison, FixedBar(bar)) for comparison in Comparison]
    at_least, at_most = judge(rules, Measurements({"m": value}), None)
    assert at_least.passed == (value >= bar)
    assert at_most.passed == (value <= bar)
    assert at_least.value == value
    assert at_least.bar == bar


@given(VALUES, VALUES, st.floats(-10, 10))
def test_a_baseline_rule_passes_exactly_from_the_baseline_plus_the_margin_on(
    value: float, reference: float, margin: float
) -> None:
    rule = GateRule("m", Comparison.AT_LEAST, BaselineBar(margin))
    (verdict,) = judge([rule], Measurements({"m": value}), Measurements({"m": reference}))
    assert verdict.bar == reference + margin
    assert verdict.passed == (value >= reference + margin)


def test_what_was_not_measured_fails_and_what_has_no_baseline_yet_passes() -> None:
    fixed = GateRule("m", Comparison.AT_LEAST, FixedBar(0.0))
    against = GateRule("m", Comparison.AT_LEAST, BaselineBar(0.0))
    assert not judge([fixed], Measurements({}), None)[0].passed
    assert not judge([against], Measurements({"m": 1.0}), Measurements({}))[0].passed
    assert judge([against], Measurements({"m": 1.0}), None)[0].passed


def approved(
    tx: MemoryRegistryTx, version: ModelVersion, *, valid: timedelta | None = None
) -> Approval:
    result = promotion.evaluate_gate(tx, evaluated(tx, version).meta.name, "")
    approval = approvals.request_approval(
        tx,
        version.meta.name,
        gate_result=result.meta.name,
        requester="ann",
        expire_time=None if valid is None else tx.now + valid,
    )
    return approvals.decide_approval(
        tx, approval.meta.name, Decision.APPROVE, approver="bob", comment="fine", etag=""
    )


def move(
    tx: MemoryRegistryTx, version: ModelVersion, expected: str = "", alias: str = CHAMPION
) -> None:
    order = MoveOrder(alias=alias, to_version=version.meta.name, expected_version=expected)
    move_aliases(tx, [order], actor="ann", reason="test")


def test_a_protected_alias_moves_with_a_valid_approval_and_keeps_its_history() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    with pytest.raises(ApprovalRequired):
        move(tx, version)
    approval = approved(tx, version)
    move(tx, version)
    (recorded,) = tx.moves
    assert (recorded.from_version, recorded.to_version) == ("", version.meta.name)
    assert recorded.approval == approval.meta.name
    assert tx.kinds()[-1] == "alias.moved"


def test_an_expired_approval_does_not_count() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    approval = approved(tx, version, valid=timedelta(hours=1))
    tx.pass_time(hours=1)
    with pytest.raises(ApprovalRequired) as refused:
        move(tx, version)
    assert "EXPIRED" in refused.value.violations[0].description
    assert approval.state_at(tx.now) is ApprovalState.EXPIRED


def test_an_approval_of_other_evidence_does_not_count() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    approved(tx, version)
    promotion.evaluate_gate(tx, evaluated(tx, version, split_digest=OTHER_ROWS).meta.name, "")
    with pytest.raises(ApprovalRequired):
        move(tx, version)


def test_the_gate_evaluated_again_on_equal_evidence_leaves_the_approval_valid() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    approval = approved(tx, version)
    result = tx.gate_results.get(approval.gate_result)
    assert result is not None
    promotion.evaluate_gate(tx, result.evaluation, "")
    move(tx, version)


def test_an_approval_of_another_version_does_not_count() -> None:
    tx = MemoryRegistryTx()
    approved(tx, ready_version(tx))
    with pytest.raises(ApprovalRequired):
        move(tx, ready_version(tx, b"other"))


def test_moves_are_all_made_or_none() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    orders = [
        MoveOrder(f"{MODEL}/aliases/shadow", version.meta.name, ""),
        MoveOrder(f"{MODEL}/aliases/canary", version.meta.name, f"{MODEL}/versions/9"),
    ]
    with pytest.raises(AliasMoved) as refused:
        move_aliases(tx, orders, actor="ann", reason="")
    assert refused.value.metadata["current"] == ""


def test_moves_of_two_models_or_of_one_alias_twice_are_refused() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    order = MoveOrder(f"{MODEL}/aliases/shadow", version.meta.name, "")
    foreign = MoveOrder("projects/default/models/other/aliases/a", version.meta.name, "")
    with pytest.raises(InvalidRequest) as refused:
        move_aliases(tx, [order, order, foreign], actor="ann", reason="")
    fields = [fault.field for fault in refused.value.violations]
    assert fields == ["moves[1].alias", "moves[2].alias"]


def test_an_alias_takes_only_a_ready_version_which_then_is_not_deprecated() -> None:
    tx = MemoryRegistryTx()
    shadow = f"{MODEL}/aliases/shadow"
    version, other = ready_version(tx), ready_version(tx, b"other")
    versions.deprecate_version(tx, other.meta.name, etag="")
    with pytest.raises(VersionNotReady):
        move(tx, other, alias=shadow)
    move(tx, version, alias=shadow)
    with pytest.raises(IllegalTransition):
        versions.deprecate_version(tx, version.meta.name, etag="")


def test_nobody_decides_their_own_request() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    result = promotion.evaluate_gate(tx, evaluated(tx, version).meta.name, "")
    approval = approvals.request_approval(
        tx, version.meta.name, gate_result=result.meta.name, requester="ann", expire_time=None
    )
    with pytest.raises(SelfApproval):
        approvals.decide_approval(
            tx, approval.meta.name, Decision.APPROVE, approver="ann", comment="", etag=""
        )


def test_a_decision_is_made_once() -> None:
    tx = MemoryRegistryTx()
    approval = approved(tx, ready_version(tx))
    with pytest.raises(ApprovalClosed):
        approvals.decide_approval(
            tx, approval.meta.name, Decision.REJECT, approver="eve", comment="", etag=""
        )


def test_approval_on_changed_evidence_is_stale_but_may_be_rejected() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    result = promotion.evaluate_gate(tx, evaluated(tx, version).meta.name, "")
    approval = approvals.request_approval(
        tx, version.meta.name, gate_result=result.meta.name, requester="ann", expire_time=None
    )
    promotion.evaluate_gate(tx, evaluated(tx, version, split_digest=OTHER_ROWS).meta.name, "")
    with pytest.raises(ApprovalEvidenceChanged):
        approvals.decide_approval(
            tx, approval.meta.name, Decision.APPROVE, approver="bob", comment="", etag=""
        )
    rejected = approvals.decide_approval(
        tx, approval.meta.name, Decision.REJECT, approver="bob", comment="", etag=""
    )
    assert rejected.state_at(tx.now) is ApprovalState.REJECTED


def test_a_failed_gate_is_a_result_for_which_no_approval_can_be_asked() -> None:
    tx = MemoryRegistryTx()
    rule = GateRule("auc", Comparison.AT_LEAST, FixedBar(0.9))
    create_model(tx, PromotionPolicy(rules=(rule,)))
    version = ready_version(tx)
    result = promotion.evaluate_gate(tx, evaluated(tx, version).meta.name, "")
    assert not result.passed
    with pytest.raises(GateNotPassed) as refused:
        approvals.request_approval(
            tx, version.meta.name, gate_result=result.meta.name, requester="ann", expire_time=None
        )
    assert [fault.subject for fault in refused.value.violations] == ["auc"]


def test_the_bundles_size_is_a_metric_of_every_version() -> None:
    tx = MemoryRegistryTx()
    rule = GateRule("bundle.size_bytes", Comparison.AT_MOST, FixedBar(6))
    create_model(tx, PromotionPolicy(rules=(rule,)))
    small, large = ready_version(tx, b"1234"), ready_version(tx, b"12345")
    assert promotion.evaluate_gate(tx, evaluated(tx, small).meta.name, "").passed
    assert not promotion.evaluate_gate(tx, evaluated(tx, large).meta.name, "").passed
    with pytest.raises(InvalidRequest):
        evaluated(tx, small, {"bundle.size_bytes": 1.0})


def test_a_candidate_is_held_against_the_serving_version_on_the_same_rows() -> None:
    tx = MemoryRegistryTx()
    create_model(tx, PromotionPolicy((AUC_ABOVE_BASELINE,), ("champion",)))
    champion, candidate = ready_version(tx), ready_version(tx, b"other")
    approved(tx, champion)
    move(tx, champion)
    better = evaluated(tx, candidate, {"auc": 0.8}).meta.name
    with pytest.raises(BaselineRequired):
        promotion.evaluate_gate(tx, better, "")
    elsewhere = evaluated(tx, champion, split_digest=OTHER_ROWS).meta.name
    with pytest.raises(EvaluationsNotComparable):
        promotion.evaluate_gate(tx, better, elsewhere)
    again = evaluated(tx, champion, purpose=Purpose.BASELINE).meta.name
    result = promotion.evaluate_gate(tx, better, again)
    assert result.passed
    assert result.verdicts[0].bar == 0.7


def test_evidence_changes_with_rules_scores_and_baseline() -> None:
    tx = MemoryRegistryTx()
    version, other = ready_version(tx), ready_version(tx, b"other")
    evaluation = evaluated(tx, version).meta.name
    first = promotion.evaluate_gate(tx, evaluation, "")
    against = promotion.evaluate_gate(tx, evaluation, evaluated(tx, other).meta.name)
    change = models.ModelChange(policy=PromotionPolicy((AUC_ABOVE_BASELINE,)))
    models.update_model(tx, MODEL, change, etag="")
    ruled = promotion.evaluate_gate(tx, evaluation, "")
    again = promotion.evaluate_gate(tx, evaluation, "")
    digests = [result.evidence_digest for result in (first, against, ruled, again)]
    assert len(set(digests[:3])) == 3
    assert digests[2] == digests[3]


def test_open_snapshots_and_unfinished_versions_have_no_evaluations() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    unfinished = versions.begin_upload(tx, MODEL, Ancestry((), "", ""), labels={})
    with pytest.raises(VersionNotReady):
        evaluated(tx, unfinished)
    open_name = f"{DATASET}/snapshots/open"
    datasets.create_snapshot(
        tx, open_name, rules=NO_RULES, origin=Origin(source="", parents=()), labels={}
    )
    with pytest.raises(SnapshotNotSealed):
        ready_version(tx, b"x", Ancestry((open_name,), "", ""))
    assert version.meta.name.endswith("/versions/1")


def test_lineage_leads_from_the_snapshot_to_the_alias_and_back() -> None:
    tx = MemoryRegistryTx()
    sealed_snapshot(tx)
    version = ready_version(tx, ancestry=Ancestry((SNAPSHOT,), JOB, ""))
    approval = approved(tx, version)
    move(tx, version)
    down = walk(SNAPSHOT, DOWNSTREAM, Bounds(), tx.edges_at)
    reached = {edge.target for edge in down.edges}
    assert {JOB, version.meta.name, approval.meta.name, CHAMPION} <= reached
    assert not down.truncated
    up = walk(CHAMPION, UPSTREAM, Bounds(), tx.edges_at)
    assert SNAPSHOT in {edge.source for edge in up.edges}
    assert set(up.edges) <= set(down.edges)
