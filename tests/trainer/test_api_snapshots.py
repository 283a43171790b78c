"""What jobs ask of the snapshots that they train on, beside a real registry."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from roundhouse.registry.v1 import (
    dataset_service_pb2,
    retention_pb2,
    retention_service_pb2,
)
from roundhouse.trainer.v1 import job_service_pb2

from services.trainer.core.spec import Candidate
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller

pytestmark = pytest.mark.real
LONG = (Candidate("mlp", {"epochs": 60, "hidden_units": 8}),)


async def pins(caller: TrainerCaller) -> list[retention_pb2.Pin]:
    listed = await caller.registry.retention.ListPins(
        retention_service_pb2.ListPinsRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    return list(listed.pins)


async def test_a_snapshot_that_is_not_sealed_or_not_there_is_a_fault(caller: TrainerCaller) -> None:
    dataset = f"{PROJECT}/datasets/flights"
    unsealed = await caller.registry.create_snapshot(dataset, "open")
    for snapshot in (unsealed, f"{dataset}/snapshots/none"):
        with refused() as refusal:
            await caller.submit("first", snapshot=snapshot)
        assert refusal.fields() == ["training_job.spec.snapshot"]


async def test_a_job_that_is_not_over_keeps_its_snapshot(caller: TrainerCaller) -> None:
    snapshot = f"{PROJECT}/datasets/flights/snapshots/january"
    name = await caller.submit("pinning", candidates=LONG)
    assert [pin.target for pin in await pins(caller)] == [snapshot]
    with refused() as refusal:
        await caller.registry.datasets.DeleteSnapshot(
            dataset_service_pb2.DeleteSnapshotRequest(name=snapshot, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "RETAINED"
    # The trainer has seen for itself what the job relies on once it has set the pin anew.
    async with asyncio.timeout(60):
        while any(pin.create_time == pin.update_time for pin in await pins(caller)):
            await asyncio.sleep(0.05)
    await caller.jobs.CancelTrainingJob(
        job_service_pb2.CancelTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    async with asyncio.timeout(60):
        while await pins(caller):
            await asyncio.sleep(0.05)


async def test_nothing_is_trained_on_a_snapshot_under_a_privacy_hold(
    caller: TrainerCaller,
) -> None:
    snapshot = f"{PROJECT}/datasets/flights/snapshots/january"
    hold = await caller.registry.retention.PlaceHold(
        retention_service_pb2.PlaceHoldRequest(
            parent=PROJECT,
            hold=retention_pb2.Hold(
                target=snapshot,
                kind=retention_pb2.Hold.KIND_PRIVACY,
                placed_by="ann",
                reason="request 7",
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await caller.submit("held", "decision_tree")
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SNAPSHOT_HELD",
    )
    assert refusal.metadata == {"snapshot": snapshot, "hold": hold.name}
