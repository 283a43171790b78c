from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from grpc import StatusCode
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    lineage_service_pb2,
    model_pb2,
)

from services.common.rpc.convert import to_timestamp
from tests.support.registry_api import (
    BUNDLE,
    PROJECT,
    TIMEOUT_S,
    RegistryCaller,
    digest_of,
    refused,
    request_id,
    running_registry,
)
from tests.support.registry_memory import EPOCH

pb, service_pb = evaluation_pb2, evaluation_service_pb2
MODEL = f"{PROJECT}/models/delays"
CHAMPION = f"{MODEL}/aliases/champion"
JOB = f"{PROJECT}/trainingJobs/first"
POLICY = model_pb2.PromotionPolicy(
    rules=[
        model_pb2.GateRule(
            metric="auc", comparison=model_pb2.GateRule.COMPARISON_AT_LEAST, value=0.6
        ),
        model_pb2.GateRule(
            metric="auc", comparison=model_pb2.GateRule.COMPARISON_AT_LEAST, baseline_margin=0.0
        ),
        model_pb2.GateRule(
            metric="bundle.size_bytes",
            comparison=model_pb2.GateRule.COMPARISON_AT_MOST,
            value=1e6,
        ),
    ],
    protected_aliases=["champion"],
)


async def champion(caller: RegistryCaller, snapshot: str) -> str:
    """A version that has gone the whole way to the protected alias."""
    model = await caller.create_model(promotion_policy=POLICY)
    version = await caller.ready_version(model, training_job=JOB, snapshots=[snapshot])
    evaluation = await caller.evaluate(version, snapshot, auc=0.7)
    gate = await caller.gate(evaluation.name)
    approval = await caller.ask(version, gate.name)
    await caller.decide(approval.name)
    await caller.move((CHAMPION, version, ""))
    return version


async def test_a_version_earns_a_protected_alias_and_is_unseated_by_a_better_one(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.sealed_snapshot()
    first = await champion(caller, snapshot)
    second = await caller.ready_version(MODEL, {**BUNDLE, "card.md": b"2"})
    evaluation = await caller.evaluate(second, snapshot, auc=0.72)
    with refused() as refusal:
        await caller.gate(evaluation.name)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "BASELINE_REQUIRED",
    )
    baseline = await caller.evaluate(first, snapshot, auc=0.71)
    gate = await caller.gate(evaluation.name, baseline.name)
    assert gate.passed
    assert [(verdict.value, verdict.bar) for verdict in gate.verdicts[:2]] == [
        (0.72, 0.6),
        (0.72, 0.71),
    ]
    with refused() as refusal:
        await caller.move((CHAMPION, second, first))
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "APPROVAL_REQUIRED",
    )
    approval = await caller.ask(second, gate.name)
    assert approval.state == pb.Approval.STATE_PENDING
    with refused() as refusal:
        await caller.move((CHAMPION, second, first))
    assert "PENDING" in refusal.details["PreconditionFailure"].violations[0].description
    decided = await caller.decide(approval.name, comment="better")
    assert (decided.state, decided.comment) == (pb.Approval.STATE_APPROVED, "better")
    moved = await caller.move((CHAMPION, second, first))
    assert moved.aliases[0].protected


async def test_a_failed_gate_is_stored_with_its_numbers_and_cannot_be_approved(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.sealed_snapshot()
    model = await caller.create_model(promotion_policy=POLICY)
    version = await caller.ready_version(model)
    evaluation = await caller.evaluate(version, snapshot, auc=0.55)
    gate = await caller.gate(evaluation.name)
    assert [verdict.passed for verdict in gate.verdicts] == [False, True, True]
    stored = await caller.evaluations.GetGateResult(
        service_pb.GetGateResultRequest(name=gate.name), timeout=TIMEOUT_S
    )
    assert stored == gate
    listed = await caller.evaluations.ListGateResults(
        service_pb.ListGateResultsRequest(parent=version), timeout=TIMEOUT_S
    )
    assert list(listed.gate_results) == [gate]
    with refused() as refusal:
        await caller.ask(version, gate.name)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "GATE_NOT_PASSED",
    )


async def test_evaluations_on_other_rows_or_of_one_version_are_not_comparable(
    caller: RegistryCaller,
) -> None:
    snapshot, other = [await caller.sealed_snapshot(name) for name in ("a", "b")]
    model = await caller.create_model()
    first, second = [await caller.ready_version(model) for _ in range(2)]
    candidate = (await caller.evaluate(first, snapshot, auc=0.7)).name
    for baseline in (
        await caller.evaluate(first, snapshot, auc=0.7),
        await caller.evaluate(second, other, auc=0.7),
    ):
        with refused() as refusal:
            await caller.gate(candidate, baseline.name)
        assert (refusal.code, refusal.reason) == (
            StatusCode.INVALID_ARGUMENT,
            "EVALUATIONS_NOT_COMPARABLE",
        )


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"metrics": {"auc": float("nan")}}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"metrics": {}}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"split_digest": "x"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"uid": "mine"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (
            {"snapshot": f"{PROJECT}/datasets/d/snapshots/s"},
            StatusCode.NOT_FOUND,
            "SNAPSHOT_NOT_FOUND",
        ),
    ],
)
async def test_a_faulty_evaluation_is_refused(
    caller: RegistryCaller, fields: dict[str, object], code: StatusCode, reason: str
) -> None:
    version = await caller.ready_version(await caller.create_model())
    evaluation = {
        "snapshot": await caller.sealed_snapshot(),
        "split": "test",
        "split_digest": digest_of(b"rows"),
        "rows": 100,
        "metrics": {"auc": 0.7},
        **fields,
    }
    with refused() as refusal:
        await caller.evaluations.RecordEvaluation(
            service_pb.RecordEvaluationRequest(
                parent=version, evaluation=pb.Evaluation(**evaluation), request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_an_unfinished_version_and_an_open_snapshot_have_no_evaluations(
    caller: RegistryCaller,
) -> None:
    model = await caller.create_model()
    snapshot = await caller.sealed_snapshot()
    with refused() as refusal:
        await caller.evaluate(await caller.begin(model), snapshot, auc=0.7)
    assert refusal.reason == "VERSION_NOT_READY"
    opened = await caller.create_snapshot(f"{PROJECT}/datasets/flights", "open")
    with refused() as refusal:
        await caller.evaluate(await caller.ready_version(model), opened, auc=0.7)
    assert refusal.reason == "SNAPSHOT_NOT_SEALED"


async def test_evaluations_are_read_listed_and_filtered(caller: RegistryCaller) -> None:
    version = await caller.ready_version(await caller.create_model())
    snapshots = [await caller.sealed_snapshot(name) for name in ("a", "b")]
    recorded = [await caller.evaluate(version, name, auc=0.7) for name in snapshots]
    listed = await caller.evaluations.ListEvaluations(
        service_pb.ListEvaluationsRequest(parent=version, page_size=1), timeout=TIMEOUT_S
    )
    assert list(listed.evaluations) == recorded[1:]
    assert listed.next_page_token
    found = await caller.evaluations.ListEvaluations(
        service_pb.ListEvaluationsRequest(parent=version, filter=f'snapshot = "{snapshots[0]}"'),
        timeout=TIMEOUT_S,
    )
    assert list(found.evaluations) == recorded[:1]
    assert (
        await caller.evaluations.GetEvaluation(
            service_pb.GetEvaluationRequest(name=recorded[0].name), timeout=TIMEOUT_S
        )
        == recorded[0]
    )


@pytest.mark.parametrize(
    ("method", "request_type", "name", "reason"),
    [
        ("GetEvaluation", "GetEvaluationRequest", "evaluations/x", "EVALUATION_NOT_FOUND"),
        ("GetGateResult", "GetGateResultRequest", "gateResults/x", "GATE_RESULT_NOT_FOUND"),
        ("GetApproval", "GetApprovalRequest", "approvals/x", "APPROVAL_NOT_FOUND"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    caller: RegistryCaller, method: str, request_type: str, name: str, reason: str
) -> None:
    request = getattr(service_pb, request_type)
    with refused() as refusal:
        await getattr(caller.evaluations, method)(
            request(name=f"{MODEL}/versions/1/{name}"), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, reason)
    with refused() as refusal:
        await getattr(caller.evaluations, method)(request(name="x"), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_NAME")


async def pending(caller: RegistryCaller) -> evaluation_pb2.Approval:
    """An approval that waits for a person."""
    snapshot = await caller.sealed_snapshot()
    version = await caller.ready_version(await caller.create_model(promotion_policy=POLICY))
    gate = await caller.gate((await caller.evaluate(version, snapshot, auc=0.7)).name)
    return await caller.ask(version, gate.name)


async def test_who_may_decide_and_how_often(caller: RegistryCaller) -> None:
    approval = await pending(caller)
    with refused() as refusal:
        await caller.decide(approval.name, "ann")
    assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "SELF_APPROVAL")
    with refused() as refusal:
        await caller.decide(approval.name, etag="other")
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "ETAG_MISMATCH")
    rehearsed = await caller.decide(approval.name, validate_only=True)
    assert rehearsed.state == pb.Approval.STATE_APPROVED
    stored = await caller.evaluations.GetApproval(
        service_pb.GetApprovalRequest(name=approval.name), timeout=TIMEOUT_S
    )
    assert stored == approval
    reject = service_pb.DecideApprovalRequest.DECISION_REJECT
    rejected = await caller.decide(approval.name, decision=reject, etag=approval.etag)
    assert rejected.state == pb.Approval.STATE_REJECTED
    with refused() as refusal:
        await caller.decide(approval.name)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "APPROVAL_CLOSED",
    )


async def test_an_approval_lapses_with_time_and_with_new_evidence(tmp_path: Path) -> None:
    moment = EPOCH
    async with running_registry(tmp_path, now=lambda: moment) as caller:
        approval = await pending(caller)
        version = approval.name.rpartition("/approvals/")[0]
        soon = to_timestamp(moment + timedelta(hours=1))
        short = await caller.ask(version, approval.gate_result, expire_time=soon)
        await caller.decide(short.name)
        moment += timedelta(hours=1)
        with refused() as refusal:
            await caller.move((CHAMPION, version, ""))
        assert refusal.reason == "APPROVAL_REQUIRED"
        listed = await caller.evaluations.ListApprovals(
            service_pb.ListApprovalsRequest(parent=f"{MODEL}/versions/-", filter="state = EXPIRED"),
            timeout=TIMEOUT_S,
        )
        assert [(each.name, each.state) for each in listed.approvals] == [
            (short.name, pb.Approval.STATE_EXPIRED)
        ]
        with refused() as refusal:
            await caller.ask(version, approval.gate_result, expire_time=soon)
        assert refusal.fields() == ["approval.expire_time"]
        snapshot = f"{PROJECT}/datasets/flights/snapshots/january"
        await caller.gate((await caller.evaluate(version, snapshot, auc=0.8)).name)
        for call in (caller.decide(approval.name), caller.ask(version, approval.gate_result)):
            with refused() as refusal:
                await call
            assert (refusal.code, refusal.reason) == (
                StatusCode.FAILED_PRECONDITION,
                "APPROVAL_STALE",
            )


async def test_lineage_leads_from_the_alias_back_to_the_data(caller: RegistryCaller) -> None:
    snapshot = await caller.sealed_snapshot()
    version = await champion(caller, snapshot)
    request = lineage_service_pb2.QueryLineageRequest
    up = await caller.lineage.QueryLineage(
        request(name=CHAMPION, direction=request.DIRECTION_UPSTREAM), timeout=TIMEOUT_S
    )
    causes = {getattr(edge, "from") for edge in up.edges}
    assert {snapshot, JOB, version} <= causes
    assert {edge.relation for edge in up.edges} == {
        *("trained", "produced", "evaluated", "gated", "approved", "aliased"),
        *("selected", "featured"),
    }
    near = await caller.lineage.QueryLineage(
        request(name=snapshot, direction=request.DIRECTION_DOWNSTREAM, max_hops=1),
        timeout=TIMEOUT_S,
    )
    assert near.truncated
    assert {getattr(edge, "from") for edge in near.edges} == {snapshot}
    nobody = await caller.lineage.QueryLineage(
        request(name="nobody", direction=request.DIRECTION_UPSTREAM), timeout=TIMEOUT_S
    )
    assert (list(nobody.edges), nobody.truncated) == ([], False)
    with refused() as refusal:
        await caller.lineage.QueryLineage(request(name="x"), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
