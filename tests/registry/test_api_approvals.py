"""Approvals: who may decide, how often, and for how long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from grpc import StatusCode
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
)

from services.common.rpc.convert import to_timestamp
from tests.registry.test_api_promotion import CHAMPION, MODEL, POLICY
from tests.support.calls import PROJECT, TIMEOUT_S, refused
from tests.support.registry_api import RegistryCaller, running_registry
from tests.support.registry_memory import EPOCH

pb, service_pb = evaluation_pb2, evaluation_service_pb2


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
        await caller.gate((await caller.evaluate(version, snapshot, rows=b"more", auc=0.8)).name)
        for call in (caller.decide(approval.name), caller.ask(version, approval.gate_result)):
            with refused() as refusal:
                await call
            assert (refusal.code, refusal.reason) == (
                StatusCode.FAILED_PRECONDITION,
                "APPROVAL_EVIDENCE_CHANGED",
            )
