from __future__ import annotations

import pytest
from grpc import StatusCode
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    lineage_service_pb2,
    model_pb2,
    model_service_pb2,
)

from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, digest_of

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
    baseline = await caller.evaluate(
        first, snapshot, auc=0.71, purpose=pb.Evaluation.PURPOSE_BASELINE
    )
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
        await caller.evaluate(first, snapshot, auc=0.7, purpose=pb.Evaluation.PURPOSE_BASELINE),
        await caller.evaluate(second, other, rows=b"others", auc=0.7),
    ):
        with refused() as refusal:
            await caller.gate(candidate, baseline.name)
        assert (refusal.code, refusal.reason) == (
            StatusCode.INVALID_ARGUMENT,
            "EVALUATIONS_NOT_COMPARABLE",
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


async def test_the_ledger_refuses_a_second_look_and_lists_every_look(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.sealed_snapshot()
    model = await caller.create_model()
    version = await caller.ready_version(model, training_job=JOB)
    first = await caller.evaluate(version, snapshot, auc=0.7)
    assert first.purpose == pb.Evaluation.PURPOSE_TEST
    successor = await caller.ready_version(model, parent_version=version)
    with refused() as refusal:
        await caller.evaluate(successor, snapshot, auc=0.8)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "TEST_SET_TOUCHED",
    )
    assert refusal.metadata["earlier_evaluation"] == first.name
    with refused() as refusal:
        await caller.evaluate(successor, snapshot, auc=0.8, purpose=pb.Evaluation.PURPOSE_SELECTION)
    assert refusal.reason == "SELECTION_ON_TEST_SET"
    await caller.evaluate(successor, snapshot, rows=b"newer", auc=0.8)
    await caller.evaluate(
        version, snapshot, rows=b"newer", auc=0.7, purpose=pb.Evaluation.PURPOSE_BASELINE
    )
    request = service_pb.ListTestSetTouchesRequest
    listed = await caller.evaluations.ListTestSetTouches(
        request(parent=PROJECT, page_size=2), timeout=TIMEOUT_S
    )
    assert [(touch.version, touch.purpose) for touch in listed.touches] == [
        (version, pb.Evaluation.PURPOSE_BASELINE),
        (successor, pb.Evaluation.PURPOSE_TEST),
    ]
    assert list(listed.touches[1].lineage) == [successor, version, JOB]
    rest = await caller.evaluations.ListTestSetTouches(
        request(parent=PROJECT, page_size=2, page_token=listed.next_page_token), timeout=TIMEOUT_S
    )
    assert [touch.evaluation for touch in rest.touches] == [first.name]
    found = await caller.evaluations.ListTestSetTouches(
        request(parent=PROJECT, filter=f'version = "{version}" AND purpose = TEST'),
        timeout=TIMEOUT_S,
    )
    assert list(found.touches) == list(rest.touches)


async def test_a_retried_evaluation_is_the_same_look(caller: RegistryCaller) -> None:
    request = service_pb.RecordEvaluationRequest(
        parent=await caller.ready_version(await caller.create_model()),
        evaluation=pb.Evaluation(
            snapshot=await caller.sealed_snapshot(),
            split="test",
            split_digest=digest_of(b"rows"),
            rows=100,
            metrics={"auc": 0.7},
        ),
        request_id=request_id(),
    )
    first = await caller.evaluations.RecordEvaluation(request, timeout=TIMEOUT_S)
    assert await caller.evaluations.RecordEvaluation(request, timeout=TIMEOUT_S) == first


async def test_a_policy_of_every_kind_of_rule_comes_back_and_judges(
    caller: RegistryCaller,
) -> None:
    rule = model_pb2.GateRule
    at_least, at_most = rule.COMPARISON_AT_LEAST, rule.COMPARISON_AT_MOST
    scope = rule.SliceScope
    policy = model_pb2.PromotionPolicy(
        rules=[
            rule(
                metric="auc",
                comparison=at_least,
                value=0.6,
                slices=scope(column="origin", value="JFK", min_rows=10),
            ),
            rule(
                metric="auc",
                comparison=at_most,
                value=0.05,
                slices=scope(column="origin", reduction=scope.REDUCTION_GAP),
            ),
            rule(metric="latency.p99_ms", comparison=at_most, value=20.0),
            rule(metric="auc", comparison=at_least, baseline_margin=0.0, noise_multiplier=-2.0),
            rule(metric="evidence.evaluation_age_s", comparison=at_most, value=3600.0),
        ],
        readiness=[model_pb2.READINESS_ITEM_OWNER, model_pb2.READINESS_ITEM_BUDGET],
    )
    model = await caller.create_model(
        promotion_policy=policy,
        owner="flights-team",
        runbook_uri="https://runbooks/flights",
        monthly_budget={"currency_code": "EUR", "units": 300},
    )
    stored = await caller.models.GetModel(
        model_service_pb2.GetModelRequest(name=model), timeout=TIMEOUT_S
    )
    assert stored.promotion_policy == policy
    assert (stored.owner, stored.monthly_budget.units) == ("flights-team", 300)
    changed = await caller.models.UpdateModel(
        model_service_pb2.UpdateModelRequest(
            model=model_pb2.Model(name=model, owner="someone"),
            update_mask={"paths": ["owner"]},
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    assert (changed.owner, changed.runbook_uri) == ("someone", stored.runbook_uri)
    part = pb.Evaluation.Slice
    recorded = await caller.evaluations.RecordEvaluation(
        service_pb.RecordEvaluationRequest(
            parent=await caller.ready_version(model),
            evaluation=pb.Evaluation(
                snapshot=await caller.sealed_snapshot(),
                split="test",
                split_digest=digest_of(b"rows"),
                rows=100,
                metrics={"auc": 0.7, "latency.p99_ms": 3.5},
                standard_errors={"auc": 0.01},
                slices=[
                    part(column="origin", value="JFK", rows=50, metrics={"auc": 0.72}),
                    part(column="origin", value="LGA", rows=50, metrics={"auc": 0.65}),
                ],
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    gate = await caller.gate(recorded.name)
    assert [(each.subject, each.passed) for each in gate.verdicts] == [
        ("auc[origin=JFK]", True),
        ("auc[gap of origin]", False),
        ("latency.p99_ms", True),
        ("auc", True),
        ("evidence.evaluation_age_s", True),
        ("readiness.owner", True),
        ("readiness.budget", True),
    ]
    assert gate.verdicts[5].readiness == model_pb2.READINESS_ITEM_OWNER
    assert not gate.verdicts[5].HasField("rule")
    assert "from 0.65 on origin=LGA" in gate.verdicts[1].explanation


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
