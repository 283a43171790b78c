"""Evaluations: what is refused, and how they are read."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
)

from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import RegistryCaller, digest_of

pb, service_pb = evaluation_pb2, evaluation_service_pb2


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
    recorded = [
        await caller.evaluate(version, name, rows=name.encode(), auc=0.7) for name in snapshots
    ]
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
